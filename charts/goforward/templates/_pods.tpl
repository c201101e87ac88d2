{{/* What the pods have in common. Dicts as in _names.tpl. */}}

{{/* The image of the operator or the gateway. */}}
{{- define "goforward.image" -}}
{{- $image := (get .root.Values .component).image -}}
{{ printf "%s/%s:%s" .root.Values.image.registry $image.name ($image.tag | default .root.Chart.AppVersion) }}
{{- end }}

{{/* What Pod Security "restricted" asks of a pod; the images run as this user. */}}
{{- define "goforward.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What Pod Security "restricted" asks of a container, and a file system that nobody writes. */}}
{{- define "goforward.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Nothing at all where there are none. */}}
{{- define "goforward.pullSecrets" -}}
{{- with .root.Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the pods of a component run: what the values say, spread over the nodes. */}}
{{- define "goforward.placement" -}}
{{- $values := get .root.Values .component -}}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "goforward.selectorLabels" . | nindent 6 }}
  # Each version is spread by itself, so that a rollout ends as even as it began.
  matchLabelKeys: [pod-template-hash]
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* What both programs are told about themselves. */}}
{{- define "goforward.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: RUST_LOG
  value: {{ .root.Values.logLevel | quote }}
{{- end }}

{{/* Both programs answer /livez and /readyz on their admin port. */}}
{{- define "goforward.probes" -}}
livenessProbe:
  httpGet: {path: /livez, port: admin}
  initialDelaySeconds: 5
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}
