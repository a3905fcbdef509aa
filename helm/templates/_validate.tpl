{{/* What a schema can't say, each with the sentence that says what to do. Called once, by server/deployment.yaml. */}}
{{- define "ask2do.validate" -}}
{{- $v := .Values -}}
{{- if not $v.tenantKey.existingSecret -}}
{{- fail "tenantKey.existingSecret is missing: create a Secret with the key (kubectl create secret generic ask2do-tenant-key --from-file=tenant-key=FILE) and name it there" -}}
{{- end -}}
{{- if and (not $v.callers) (not $v.allowAnyCaller) -}}
{{- fail "callers is empty: name at least one caller (name, san, roles) that may mint, or set allowAnyCaller=true where the client CA issues to callers of this service alone" -}}
{{- end -}}
{{- if and $v.callers $v.allowAnyCaller -}}
{{- fail "callers and allowAnyCaller exclude each other: remove one of them" -}}
{{- end -}}
{{- if and (not $v.clientCA.existingSecret) (not $v.clientCA.existingConfigMap) -}}
{{- fail "clientCA is missing: set clientCA.existingSecret or clientCA.existingConfigMap to what holds the CA (ca.crt) of the callers' certificates" -}}
{{- end -}}
{{- if and $v.clientCA.existingSecret $v.clientCA.existingConfigMap -}}
{{- fail "clientCA.existingSecret and clientCA.existingConfigMap are both set: keep one" -}}
{{- end -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled -}}
{{- fail "tls.existingSecret and tls.certManager.enabled are both set: keep one source of the server's certificate" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager.issuerRef.name is missing: name the Issuer or ClusterIssuer of the server's certificate" -}}
{{- end -}}
{{- include "ask2do.validateWorkload" (dict "name" "server" "values" $v.server) -}}
{{- if $v.gateway.enabled -}}
{{- include "ask2do.validateWorkload" (dict "name" "gateway" "values" $v.gateway) -}}
{{- include "ask2do.validateGateway" . -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor.enabled $v.monitoring.podMonitor.enabled -}}
{{- fail "monitoring.serviceMonitor and monitoring.podMonitor are both enabled: every pod would be scraped twice; keep one" -}}
{{- end -}}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (not $v.gateway.enabled) -}}
{{- fail "ingress and httpRoute route to the gateway: set gateway.enabled=true, or turn them off" -}}
{{- end -}}
{{- end -}}

{{- define "ask2do.validateWorkload" -}}
{{- $w := .values -}}
{{- if and $w.autoscaling.enabled (not (dig "requests" "cpu" "" $w.resources)) -}}
{{- fail (printf "%s.autoscaling scales on CPU and needs %s.resources.requests.cpu" .name .name) -}}
{{- end -}}
{{- $drain := include "ask2do.seconds" (dig "shutdown" "drain" "20s" $w.config) | int -}}
{{- $settle := include "ask2do.seconds" (dig "shutdown" "settle" "0s" $w.config) | int -}}
{{- $needed := add $w.preStopSeconds $settle $drain -}}
{{- if lt (int $w.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d, less than preStopSeconds + settle + drain = %d: calls in flight would be cut; raise it to at least %d" .name (int $w.terminationGracePeriodSeconds) (int $needed) (int $needed)) -}}
{{- end -}}
{{- end -}}

{{- define "ask2do.validateGateway" -}}
{{- $g := .Values.gateway -}}
{{- $session := $g.config.session | default dict -}}
{{- if not $session.mode -}}
{{- fail "gateway.config.session.mode is missing: say how the panel's sessions are checked: forward, jwt or header (docs/gateway.md)" -}}
{{- end -}}
{{- if not (hasKey $session $session.mode) -}}
{{- fail (printf "gateway.config.session.%s is missing: session.mode is %q and its settings go there (docs/gateway.md)" $session.mode $session.mode) -}}
{{- end -}}
{{- if and $g.identity.existingSecret $g.identity.certManager.enabled -}}
{{- fail "gateway.identity.existingSecret and gateway.identity.certManager.enabled are both set: keep one source of the gateway's client certificate" -}}
{{- end -}}
{{- if not (or $g.identity.existingSecret $g.identity.certManager.enabled) -}}
{{- fail "the gateway has no client certificate: set gateway.identity.existingSecret to a Secret with tls.crt and tls.key, or gateway.identity.certManager.enabled=true with its issuerRef" -}}
{{- end -}}
{{- if and $g.identity.certManager.enabled (not $g.identity.certManager.issuerRef.name) -}}
{{- fail "gateway.identity.certManager.issuerRef.name is missing: name the Issuer or ClusterIssuer of the gateway's client certificate" -}}
{{- end -}}
{{- if and $g.identity.certManager.enabled (not (or $g.identity.certManager.uris $g.identity.certManager.dnsNames)) -}}
{{- fail "gateway.identity.certManager needs one SAN, in uris or dnsNames: the one that the gateway's entry in callers names" -}}
{{- end -}}
{{- $asksOut := or (eq $session.mode "forward") (and (eq $session.mode "jwt") $session.jwt.jwks_url) -}}
{{- if and .Values.networkPolicy.enabled $asksOut (not .Values.networkPolicy.sessionTo) -}}
{{- fail (printf "networkPolicy.sessionTo is empty: the gateway could not reach what session.mode %q asks; name its peers (podSelector, namespaceSelector or ipBlock) and networkPolicy.sessionPort" $session.mode) -}}
{{- end -}}
{{- range $key := list "public_origins" "allowed_origins" -}}
{{- range $origin := dig "http" $key (list) $g.config -}}
{{- if or (eq $origin "*") (eq $origin "null") (not (regexMatch "^https?://[^/*?#@]+$" $origin)) -}}
{{- fail (printf "gateway.config.http.%s holds %q: an origin is exact: scheme, host and port, such as https://panel.example" $key $origin) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $cidr := dig "header" "trusted_cidrs" (list) $session -}}
{{- $bits := regexFind "[0-9]+$" $cidr | int -}}
{{- $least := ternary 32 8 (contains ":" $cidr) -}}
{{- if or (not (contains "/" $cidr)) (lt $bits $least) -}}
{{- fail (printf "gateway.config.session.header.trusted_cidrs holds %q: every process at a trusted address can be any user; name networks of at most a /%d, or use client_ca_file and proxy_sans" $cidr $least) -}}
{{- end -}}
{{- end -}}
{{- end -}}
