{{- define "ask2do.dnsEgress" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "ask2do.otlpEgress" -}}
{{- with .Values.networkPolicy.otlpTo }}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ $.Values.networkPolicy.otlpPort }}}
{{- end }}
{{- end -}}

{{- define "ask2do.adminIngress" -}}
{{- with .root.Values.networkPolicy.metricsFrom }}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ $.port }}}
{{- end }}
{{- end -}}

{{/* Public addresses: everything but the private, shared, link-local and special ranges (RFC 6890), and the
6to4 addresses, which hold any IPv4 address. */}}
{{- define "ask2do.publicPeers" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/4, 240.0.0.0/4]
- ipBlock:
    cidr: 2000::/3
    except: ["2001::/23", "2001:db8::/32", "2002::/16"]
{{- end -}}
