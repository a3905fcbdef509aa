{{/*
What the pods of server and gateway have alike. All are called with (dict "root" $ "component" .. "name" ..
"values" .Values.server): the name is the Deployment's.
*/}}
{{- define "ask2do.deploymentSpec" -}}
{{- if not .values.autoscaling.enabled }}
replicas: {{ .values.replicas }}
{{- end }}
revisionHistoryLimit: 5
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxUnavailable: 0
    maxSurge: 1
selector:
  matchLabels:
    {{- include "ask2do.selectorLabels" . | nindent 4 }}
{{- end -}}

{{/* A changed checksum replaces the pods: of "settings", which need a start; callers.toml does not, and is left out */}}
{{- define "ask2do.podMetadata" -}}
labels:
  {{- include "ask2do.podLabels" (dict "root" .root "component" .component "labels" .values.podLabels) | nindent 2 }}
annotations:
  {{- merge (dict "checksum/settings" (sha256sum .settings)) (.values.podAnnotations | default dict) | toYaml | nindent 2 }}
{{- end -}}

{{- define "ask2do.podSpec" -}}
serviceAccountName: {{ include "ask2do.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
{{ include "ask2do.podSecurity" .root }}
{{- include "ask2do.nodes" .values }}
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
{{- with .values.extraPodSpec }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ask2do.serviceAccountName" -}}
{{- .values.serviceAccount.name | default (ternary .name "default" .values.serviceAccount.create) -}}
{{- end -}}

{{/* Of the test's pods, too: call with the root */}}
{{- define "ask2do.podSecurity" -}}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ask2do.nodes" }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* All but name, ports and mounts */}}
{{- define "ask2do.container" -}}
image: {{ include "ask2do.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [/ask2do-token-{{ .component }}]
args: [--config, /etc/ask2do-token/config/{{ .component }}.toml]
{{- $env := include "ask2do.otelEnv" .root }}
{{- if or $env .values.extraEnv }}
env:
  {{- with $env }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with .values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
{{- with .values.preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
{{- end -}}

{{- define "ask2do.extraMounts" -}}
{{- if .root.Values.otel.caSecret }}
- {name: otel-ca, mountPath: /etc/ask2do-token/otel-ca, readOnly: true}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ask2do.extraVolumes" -}}
{{- with .root.Values.otel.caSecret }}
{{ include "ask2do.caVolume" (dict "name" "otel-ca" "source" (dict "existingSecret" .)) }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A certificate and its key: (dict "name" .. "secret" .. "volume" ..), of which the volume counts where there is one */}}
{{- define "ask2do.pairVolume" -}}
- name: {{ .name }}
  {{- if .volume }}
  {{- toYaml .volume | nindent 2 }}
  {{- else }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
  {{- end }}
{{- end -}}

{{/* A volume that holds one CA file, from a Secret or a ConfigMap: (dict "name" .. "source" ..) */}}
{{- define "ask2do.caVolume" -}}
- name: {{ .name }}
  {{- if .source.existingConfigMap }}
  configMap:
    name: {{ .source.existingConfigMap }}
    defaultMode: 0444
    {{- include "ask2do.caItem" .source | nindent 4 }}
  {{- else }}
  secret:
    secretName: {{ .source.existingSecret }}
    defaultMode: 0440
    {{- include "ask2do.caItem" .source | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "ask2do.caItem" -}}
{{- if .optional -}}
optional: true
{{ end -}}
items:
  - key: {{ .key | default "ca.crt" }}
    path: ca.crt
{{- end -}}

{{/* What the gateway verifies the server's certificate by: as YAML */}}
{{- define "ask2do.serverCA" -}}
{{- $ca := .Values.gateway.serverCA -}}
{{- if or $ca.existingSecret $ca.existingConfigMap -}}
{{- toYaml $ca -}}
{{- else -}}
{{- dict "existingSecret" (include "ask2do.gatewayTlsSecret" .) "key" $ca.key | toYaml -}}
{{- end -}}
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
  value: {{ printf "k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(NAMESPACE)%s" (ternary "" (printf ",%s" .resourceAttributes) (empty .resourceAttributes)) | quote }}
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
