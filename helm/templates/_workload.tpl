{{/* Objects that server and gateway have alike: (dict "root" $ "component" .. "name" .. "values" ..) */}}
{{- define "ask2do.disruptionBudget" -}}
{{- if .values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  {{- include "ask2do.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready serves nobody: it may always be evicted.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "ask2do.selectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "ask2do.autoscaler" -}}
{{- if .values.autoscaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  {{- include "ask2do.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .values.autoscaling.targetCPUUtilizationPercentage }}
  behavior:
    {{- toYaml .values.autoscaling.behavior | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "component" .. "name" .. "secret" .. "certManager" .. "usage" .. "dnsNames" (list) "uris" (list)) */}}
{{- define "ask2do.certificate" -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  {{- include "ask2do.metadata" . | nindent 2 }}
spec:
  secretName: {{ .secret }}
  issuerRef:
    name: {{ .certManager.issuerRef.name }}
    kind: {{ .certManager.issuerRef.kind }}
    group: {{ .certManager.issuerRef.group }}
  duration: {{ .certManager.duration }}
  renewBefore: {{ .certManager.renewBefore }}
  privateKey:
    algorithm: ECDSA
    size: 256
    encoding: PKCS8
    rotationPolicy: Always
  usages:
    - digital signature
    - {{ .usage }}
  {{- with .dnsNames }}
  dnsNames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .uris }}
  uris:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .certManager.extraSpec }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
