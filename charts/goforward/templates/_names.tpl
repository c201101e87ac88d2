{{/*
Names and labels. Everything in the release's namespace is called <release>-<component>;
what belongs to the whole cluster is called goforward:<release>:<component>, so that it can
not be mistaken for somebody else's.
All take a dict: root (the chart's root context) and component.
*/}}

{{- define "goforward.name" -}}
{{ printf "%s-%s" (.root.Release.Name | trunc 40 | trimSuffix "-") .component }}
{{- end }}

{{- define "goforward.clusterName" -}}
{{ printf "goforward:%s:%s" .root.Release.Name .component }}
{{- end }}

{{/* The webhook's Service and Secret. */}}
{{- define "goforward.webhook" -}}
{{ printf "%s-webhook" (include "goforward.name" .) }}
{{- end }}

{{- define "goforward.selectorLabels" -}}
app.kubernetes.io/name: goforward
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels in one line, as flags take them: a=1,b=2. */}}
{{- define "goforward.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end }}

{{- define "goforward.selector" -}}
{{ include "goforward.pairs" (fromYaml (include "goforward.selectorLabels" .)) }}
{{- end }}

{{- define "goforward.labels" -}}
{{ include "goforward.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}
