{{- define "backsoon.name" -}}
{{- if contains "backsoon" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-backsoon" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "backsoon.selector" -}}
app.kubernetes.io/name: backsoon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "backsoon.labels" -}}
{{ include "backsoon.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "backsoon.flagsName" -}}
{{ .Values.flags.configMap | default (printf "%s-flags" (include "backsoon.name" .)) }}
{{- end }}

{{- define "backsoon.adminName" -}}
{{ include "backsoon.name" . }}-admin
{{- end }}

{{- define "backsoon.accountName" -}}
{{ .Values.serviceAccount.name | default (include "backsoon.name" .) }}
{{- end }}

{{- define "backsoon.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{/* The config file. Keys above the tables come first, then the text of the values, then the chart's own tables. */}}
{{- define "backsoon.config" -}}
{{- range list "maintenance" "replicas" "workers" }}
{{- if regexMatch (printf "(?m)^\\s*%s\\s*=" .) $.Values.config }}
{{- fail (printf "`config` has `%s`, which the chart writes itself" .) }}
{{- end }}
{{- end }}
{{- if regexMatch "(?m)^\\s*\\[+(listen|admin|fleet)\\]+" .Values.config }}
{{- fail "`config` has `[[listen]]`, `[admin]` or `[fleet]`, which the chart writes itself" }}
{{- end -}}
{{- if eq .Values.flags.from "configmap" }}
maintenance = "/etc/backsoon-flags/maintenance.toml"
{{- end }}
state_dir = "/var/lib/backsoon"
workers = {{ .Values.workers }}
{{- if or (eq .Values.mode "gateway") .Values.sidecar.podLabels }}
replicas = ["{{ include "backsoon.adminName" . }}:{{ .Values.ports.admin }}"]
{{- end }}

{{ .Values.config | trim }}

[[listen]]
address = "0.0.0.0:{{ .Values.ports.http }}"

[admin]
address = "0.0.0.0:{{ .Values.ports.admin }}"
{{- if eq .Values.flags.from "follow" }}

[fleet]
kubernetes = { namespace = "{{ .Release.Namespace }}", configmap = "{{ include "backsoon.flagsName" . }}" }
{{- end }}
{{- if eq .Values.flags.from "nats" }}

[fleet]
nats = {{ required "`flags.nats.servers` names no server" (.Values.flags.nats.servers | default nil) | toJson }}
bucket = {{ .Values.flags.nats.bucket | quote }}
key = {{ .Values.flags.nats.key | quote }}
{{- if .Values.flags.nats.credentialsSecret }}
credentials = "/etc/backsoon-nats/credentials"
{{- end }}
{{- end }}
{{ end }}

{{/* The container. As a sidecar it is an init container that goes on running. */}}
{{- define "backsoon.container" -}}
name: backsoon
image: {{ include "backsoon.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: ["run", "--config", "/etc/backsoon/backsoon.toml"]
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - { name: backsoon-http, containerPort: {{ .Values.ports.http }} }
  - { name: backsoon-admin, containerPort: {{ .Values.ports.admin }} }
startupProbe:
  httpGet: { path: /livez, port: backsoon-admin }
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: { path: /livez, port: backsoon-admin }
  periodSeconds: 10
  timeoutSeconds: 2
readinessProbe:
  httpGet: { path: /readyz, port: backsoon-admin }
  periodSeconds: 2
  timeoutSeconds: 2
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: ["ALL"] }
  seccompProfile: { type: RuntimeDefault }
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - { name: backsoon-config, mountPath: /etc/backsoon, readOnly: true }
  - { name: backsoon-state, mountPath: /var/lib/backsoon }
  {{- if eq .Values.flags.from "configmap" }}
  # A directory: a file that is mounted by itself is never updated.
  - { name: backsoon-flags, mountPath: /etc/backsoon-flags, readOnly: true }
  {{- end }}
  {{- if and (eq .Values.flags.from "nats") .Values.flags.nats.credentialsSecret }}
  - { name: backsoon-nats, mountPath: /etc/backsoon-nats, readOnly: true }
  {{- end }}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "backsoon.sidecar" -}}
{{ include "backsoon.container" . }}
restartPolicy: Always
{{- end }}

{{- define "backsoon.volumes" -}}
- name: backsoon-config
  configMap: { name: {{ include "backsoon.name" . }} }
# State and the copy of the last good flags outlast a restart of the container, and not the pod.
- name: backsoon-state
  emptyDir: { sizeLimit: 64Mi }
{{- if eq .Values.flags.from "configmap" }}
- name: backsoon-flags
  configMap: { name: {{ include "backsoon.flagsName" . }} }
{{- end }}
{{- if and (eq .Values.flags.from "nats") .Values.flags.nats.credentialsSecret }}
- name: backsoon-nats
  secret: { secretName: {{ .Values.flags.nats.credentialsSecret }} }
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
