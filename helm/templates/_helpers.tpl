{{/* Names. The longest is a Service's, 63 characters: 48 and `-gateway-admin`. Release names may hold dots, Services' may not. */}}
{{- define "ask2do.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "ask2do.fullname" -}}
{{- $name := include "ask2do.name" . -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $full := ternary $release (printf "%s-%s" $release $name) (contains $name $release) -}}
{{- .Values.fullnameOverride | default $full | trunc 48 | trimSuffix "-" -}}
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

{{/* Of objects; "labels" may bring more. Selectors' labels always hold, the user's come before the other ones. */}}
{{- define "ask2do.labels" -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" -}}
{{- $own := dict "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" $chart -}}
{{- include "ask2do.mergedLabels" (dict "of" . "own" $own) -}}
{{- end -}}

{{/* Of pods: without the chart's version, which would replace them at each new one. */}}
{{- define "ask2do.podLabels" -}}
{{- include "ask2do.mergedLabels" (dict "of" . "own" dict) -}}
{{- end -}}

{{- define "ask2do.mergedLabels" -}}
{{- $root := .of.root -}}
{{- $always := dict "app.kubernetes.io/version" $root.Chart.AppVersion "app.kubernetes.io/part-of" "ask2do-token" -}}
{{- include "ask2do.selectorLabels" .of | fromYaml | mergeOverwrite .own $always ($root.Values.commonLabels | default dict) (.of.labels | default dict) | toYaml -}}
{{- end -}}

{{- define "ask2do.metadata" -}}
labels:
  {{- include "ask2do.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
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

{{- define "ask2do.serverTlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "ask2do.fullname" .)) -}}
{{- end -}}

{{- define "ask2do.gatewayTlsSecret" -}}
{{- .Values.gateway.identity.existingSecret | default (printf "%s-identity" (include "ask2do.gatewayName" .)) -}}
{{- end -}}

{{/* A Service's address families: lines of its spec */}}
{{- define "ask2do.ipFamilies" }}
{{- with .Values.ipFamilyPolicy }}
  ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.ipFamilies }}
  ipFamilies:
    {{- toYaml . | nindent 4 }}
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
