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
{{- include "ask2do.validateNames" . -}}
{{- include "ask2do.validateCallers" . -}}
{{- include "ask2do.validateOneSource" (dict "path" "tls" "of" $v.tls "what" "the server's certificate") -}}
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
{{- include "ask2do.validateNetwork" . -}}
{{- include "ask2do.validateRoutes" . -}}
{{- end -}}

{{- define "ask2do.validateRoutes" -}}
{{- $v := .Values -}}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (not $v.gateway.enabled) -}}
{{- fail "ingress and httpRoute route to the gateway: set gateway.enabled=true, or turn them off" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- fail "ingress.host is missing: name the panel's host, on whose origin the widget calls" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is missing: name the Gateway that serves the panel's host" -}}
{{- end -}}
{{- if and $v.tlsRoute.enabled (not $v.tlsRoute.parentRefs) -}}
{{- fail "tlsRoute.parentRefs is missing: name the Gateway whose listener passes TLS through" -}}
{{- end -}}
{{- if and $v.tlsRoute.enabled (not $v.tlsRoute.hostnames) -}}
{{- fail "tlsRoute.hostnames is missing: name the hosts that callers dial" -}}
{{- end -}}
{{- end -}}

{{- define "ask2do.validateWorkload" -}}
{{- $w := .values -}}
{{- if and $w.autoscaling.enabled (gt (int $w.autoscaling.minReplicas) (int $w.autoscaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d, more than maxReplicas = %d" .name (int $w.autoscaling.minReplicas) (int $w.autoscaling.maxReplicas)) -}}
{{- end -}}
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
{{- include "ask2do.validateOneSource" (dict "path" "gateway.identity" "of" $g.identity "what" "the gateway's client certificate") -}}
{{- if not (or $g.identity.existingSecret $g.identity.certManager.enabled $g.identity.volume) -}}
{{- fail "the gateway has no client certificate: set gateway.identity.existingSecret to a Secret with tls.crt and tls.key, or gateway.identity.certManager.enabled=true with its issuerRef" -}}
{{- end -}}
{{- if and $g.identity.volume (not (or $g.serverCA.existingSecret $g.serverCA.existingConfigMap)) -}}
{{- fail "gateway.serverCA is missing: with gateway.identity.volume there is no Secret with a ca.crt; name a Secret or ConfigMap with the CA of the server's certificate" -}}
{{- end -}}
{{- if and $g.identity.certManager.enabled (not $g.identity.certManager.issuerRef.name) -}}
{{- fail "gateway.identity.certManager.issuerRef.name is missing: name the Issuer or ClusterIssuer of the gateway's client certificate" -}}
{{- end -}}
{{- if $g.identity.certManager.enabled -}}
{{- include "ask2do.validateGatewaySan" . -}}
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
{{- if and (eq $session.mode "header") (dig "header" "trusted_cidrs" (list) $session) .Values.networkPolicy.enabled (not .Values.networkPolicy.gatewayFrom) -}}
{{- fail "networkPolicy.gatewayFrom is empty: with session.header.trusted_cidrs every pod at those addresses that reaches the gateway can be any user; name the proxy's peers (podSelector, namespaceSelector or ipBlock)" -}}
{{- end -}}
{{- end -}}

{{/* A certificate comes from a Secret, from cert-manager or from a volume: (dict "path" .. "of" .. "what" ..) */}}
{{- define "ask2do.validateOneSource" -}}
{{- $sources := list -}}
{{- if .of.existingSecret -}}{{- $sources = append $sources (printf "%s.existingSecret" .path) -}}{{- end -}}
{{- if .of.certManager.enabled -}}{{- $sources = append $sources (printf "%s.certManager.enabled" .path) -}}{{- end -}}
{{- if .of.volume -}}{{- $sources = append $sources (printf "%s.volume" .path) -}}{{- end -}}
{{- if gt (len $sources) 1 -}}
{{- fail (printf "%s are both set: keep one source of %s" (join " and " $sources) .what) -}}
{{- end -}}
{{- end -}}

{{- define "ask2do.validateNames" -}}
{{- $name := include "ask2do.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "the objects would be called %q, which no Service can be: set fullnameOverride to a name of a-z, 0-9 and -, which begins with a letter" $name) -}}
{{- end -}}
{{- $wantsIpv6 := or (has "IPv6" (.Values.ipFamilies | default list)) (hasSuffix "DualStack" (.Values.ipFamilyPolicy | default "")) -}}
{{- if and $wantsIpv6 (not (contains ":" .Values.listenAddress)) -}}
{{- fail (printf "listenAddress is %s, which IPv6 does not reach, but ipFamilies or ipFamilyPolicy ask for it: set listenAddress to \"[::]\", which is both" .Values.listenAddress) -}}
{{- end -}}
{{- end -}}

{{/* What the running server would not take: it would keep the callers that it had */}}
{{- define "ask2do.validateCallers" -}}
{{- $seen := dict -}}
{{- range $caller := .Values.callers -}}
{{- if eq $caller.name "any" -}}
{{- fail "callers holds the name \"any\", which stands for everybody in logs and metrics: choose another" -}}
{{- end -}}
{{- $san := ternary $caller.san (lower $caller.san) (contains ":" $caller.san) -}}
{{- range $key, $value := dict "name" $caller.name "san" $san -}}
{{- $entry := printf "%s %s" $key $value -}}
{{- if hasKey $seen $entry -}}
{{- fail (printf "callers holds the %s %q twice: each caller has a name and a SAN of its own" $key $value) -}}
{{- end -}}
{{- $_ := set $seen $entry true -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ask2do.validateGatewaySan" -}}
{{- $c := .Values.gateway.identity.certManager -}}
{{- $names := concat $c.uris $c.dnsNames -}}
{{- if ne (len $names) 1 -}}
{{- fail (printf "gateway.identity.certManager needs one SAN, in uris or dnsNames, and has %d: the one that the gateway's entry in callers names" (len $names)) -}}
{{- end -}}
{{- $san := first $names -}}
{{- $known := .Values.allowAnyCaller -}}
{{- range $caller := .Values.callers -}}
{{- $known = or $known (eq $caller.san $san) (and $c.dnsNames (eq (lower $caller.san) (lower $san))) -}}
{{- end -}}
{{- if not $known -}}
{{- fail (printf "the gateway's certificate is for %q, which no entry of callers names: add it there, or the gateway may not mint" $san) -}}
{{- end -}}
{{- end -}}

{{/* What is asked for must be allowed, or packets vanish without a word */}}
{{- define "ask2do.validateNetwork" -}}
{{- $n := .Values.networkPolicy -}}
{{- if and $n.enabled (not $n.extraIngress) -}}
{{- $monitored := or .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled -}}
{{- if and $monitored (not $n.metricsFrom) -}}
{{- fail "networkPolicy.metricsFrom is empty: Prometheus could not scrape what monitoring asks it to; name its peers (podSelector, namespaceSelector or ipBlock)" -}}
{{- end -}}
{{- $fromOutside := or .Values.tlsRoute.enabled (ne .Values.server.service.type "ClusterIP") -}}
{{- if and $fromOutside (not $n.grpcFrom) -}}
{{- fail "networkPolicy.grpcFrom is empty: this namespace's pods alone could reach gRPC, and nothing from outside; name the peers behind tlsRoute or server.service.type (podSelector, namespaceSelector or ipBlock)" -}}
{{- end -}}
{{- end -}}
{{- if and $n.enabled (not $n.extraEgress) -}}
{{- if and (dig "cloud" "proxy" "" .Values.server.config) (not $n.egressProxy) -}}
{{- fail "networkPolicy.egressProxy is empty: the server could not reach server.config.cloud.proxy; name its peers (podSelector, namespaceSelector or ipBlock) and networkPolicy.egressProxyPort" -}}
{{- end -}}
{{- if and .Values.otel.endpoint (not $n.otlpTo) -}}
{{- fail "networkPolicy.otlpTo is empty: nothing could reach otel.endpoint; name its peers (podSelector, namespaceSelector or ipBlock) and networkPolicy.otlpPort" -}}
{{- end -}}
{{- end -}}
{{- end -}}
