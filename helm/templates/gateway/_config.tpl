{{/* gateway.toml: the chart's own settings over the user's */}}
{{- define "ask2do.gatewayToml" -}}
{{- $server := include "ask2do.fullname" . -}}
{{- $own := dict
  "http" (dict "listen" (printf "%s:8080" .Values.listenAddress))
  "admin" (dict "listen" (printf "%s:9091" .Values.listenAddress))
  "service" (dict
    "endpoint" (printf "https://%s-headless.%s.svc:8443" $server .Release.Namespace)
    "ca_file" "/etc/ask2do-token/server-ca/ca.crt" "certificate_file" "/etc/ask2do-token/identity/tls.crt" "private_key_file" "/etc/ask2do-token/identity/tls.key") -}}
{{- $settings := mergeOverwrite (deepCopy .Values.gateway.config) $own (dict "service" (.Values.gateway.config.service | default dict)) -}}
{{- include "ask2do.toml" (dict "table" $settings "path" "") | trim -}}
{{- end -}}

{{- define "ask2do.gatewayPath" -}}
{{- dig "http" "path" "/api/ask2do/token" .Values.gateway.config -}}
{{- end -}}
