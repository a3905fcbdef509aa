{{/* Names */}}
{{- define "ask2do.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "ask2do.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "ask2do.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ask2do.gatewayName" -}}
{{ include "ask2do.fullname" . }}-gateway
{{- end -}}

{{/* Labels: call with (dict "root" $ "component" "server") */}}
{{- define "ask2do.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ask2do.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "ask2do.labels" -}}
{{ include "ask2do.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: ask2do-token
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ask2do.metadata" -}}
labels:
  {{- include "ask2do.labels" . | nindent 2 }}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ask2do.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Pod Security "restricted", and a read-only root */}}
{{- define "ask2do.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "ask2do.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end -}}

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

{{/* A volume that holds one CA file, from a Secret or a ConfigMap: (dict "name" .. "source" .. ) */}}
{{- define "ask2do.caVolume" -}}
- name: {{ .name }}
  {{- if .source.existingConfigMap }}
  configMap:
    name: {{ .source.existingConfigMap }}
    defaultMode: 0444
    items:
      - key: {{ .source.key | default "ca.crt" }}
        path: ca.crt
  {{- else }}
  secret:
    secretName: {{ .source.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .source.key | default "ca.crt" }}
        path: ca.crt
  {{- end }}
{{- end -}}

{{- define "ask2do.serverTlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "ask2do.fullname" .)) -}}
{{- end -}}

{{- define "ask2do.gatewayTlsSecret" -}}
{{- .Values.gateway.identity.existingSecret | default (printf "%s-identity" (include "ask2do.gatewayName" .)) -}}
{{- end -}}

{{/* Where OTLP goes: the specification's own variables */}}
{{- define "ask2do.otelEnv" -}}
{{- with .Values.otel }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .protocol | quote }}
- name: OTEL_TRACES_SAMPLER
  value: {{ .sampler | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .samplerArg | quote }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(NAMESPACE){{ with .resourceAttributes }},{{ . }}{{ end }}
{{- if .headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret.name }}
      key: {{ .headersSecret.key }}
{{- end }}
{{- if .caSecret }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/ask2do-token/otel-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Pod settings that server and gateway share: (dict "root" $ "values" .Values.server "component" "server") */}}
{{- define "ask2do.scheduling" -}}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "ask2do.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
{{- end -}}

{{/* Seconds in "20s", "1m30s", "500ms" (rounded up) */}}
{{- define "ask2do.seconds" -}}
{{- $text := . | toString -}}
{{- $total := 0.0 -}}
{{- range $part := regexFindAll "[0-9]+(ms|s|m|h)" $text -1 -}}
{{- $number := regexFind "[0-9]+" $part | float64 -}}
{{- if hasSuffix "ms" $part -}}{{- $total = addf $total (divf $number 1000.0) -}}
{{- else if hasSuffix "s" $part -}}{{- $total = addf $total $number -}}
{{- else if hasSuffix "m" $part -}}{{- $total = addf $total (mulf $number 60.0) -}}
{{- else -}}{{- $total = addf $total (mulf $number 3600.0) -}}{{- end -}}
{{- end -}}
{{- ceil $total | int -}}
{{- end -}}
