{{/*
Tables of settings as TOML. Call with (dict "table" $settings "path" ""). Scalars come before tables,
keys are sorted, so that the same values always give the same bytes.
*/}}
{{- define "ask2do.toml" -}}
{{- $path := .path -}}
{{- $table := .table -}}
{{- range $key := keys $table | sortAlpha }}
{{- $value := index $table $key }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "ask2do.tomlKey" $key }} = {{ include "ask2do.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key := keys $table | sortAlpha }}
{{- $value := index $table $key }}
{{- if kindIs "map" $value }}
{{- if $value }}
{{- $quoted := include "ask2do.tomlKey" $key }}
{{- $name := ternary $quoted (printf "%s.%s" $path $quoted) (eq $path "") }}

[{{ $name }}]
{{- include "ask2do.toml" (dict "table" $value "path" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ask2do.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ . | toJson }}{{- end -}}
{{- end -}}

{{- define "ask2do.tomlValue" -}}
{{- if kindIs "string" . -}}
{{ . | toJson }}
{{- else if kindIs "float64" . -}}
{{- if eq (float64 (int64 .)) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else if kindIs "slice" . -}}
{{ . | toJson }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* The callers' list, in a file of its own: it is reloaded while running */}}
{{- define "ask2do.callers" -}}
{{- range .Values.callers }}
[[callers]]
name = {{ .name | toJson }}
san = {{ .san | toJson }}
roles = {{ .roles | toJson }}
{{ end }}
{{- end -}}
