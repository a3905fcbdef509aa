{{/* server.toml: the chart's own settings over the user's */}}
{{- define "ask2do.serverToml" -}}
{{- $own := dict
  "grpc" (dict "listen" (printf "%s:8443" .Values.listenAddress) "certificate_file" "/etc/ask2do-token/tls/tls.crt" "private_key_file" "/etc/ask2do-token/tls/tls.key" "client_ca_file" "/etc/ask2do-token/client-ca/ca.crt")
  "admin" (dict "listen" (printf "%s:9090" .Values.listenAddress))
  "cloud" (dict "tenant_key_file" "/etc/ask2do-token/tenant-key/tenant-key") -}}
{{- if .Values.allowAnyCaller -}}
{{- $_ := set $own "allow_any_caller" true -}}
{{- else -}}
{{- $_ := set $own "callers_file" "callers.toml" -}}
{{- end -}}
{{- $settings := mergeOverwrite (deepCopy .Values.server.config) $own -}}
{{- include "ask2do.toml" (dict "table" $settings "path" "") | trim -}}
{{- end -}}
