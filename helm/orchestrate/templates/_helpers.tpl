{{- define "orchestrate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "orchestrate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "orchestrate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "orchestrate.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "orchestrate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "orchestrate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "orchestrate.labels" -}}
{{ include "orchestrate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.additionalLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "orchestrate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "orchestrate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "orchestrate.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* The kubernetes driver speaks to the API; nothing else does. */}}
{{- define "orchestrate.needsToken" -}}
{{- if eq (get .Values.config "traffic" | default "none") "kubernetes" }}true{{ else }}false{{ end -}}
{{- end -}}

{{/* Whole seconds of the freeze budget, rounded up: 250ms, 10s, 1m, 1h, 1d. */}}
{{- define "orchestrate.budgetSeconds" -}}
{{- $text := get .Values.config "freeze-budget" | default "10s" -}}
{{- $n := regexFind "^[0-9.]+" $text | float64 -}}
{{- $unit := regexFind "[a-z]+$" $text -}}
{{- $each := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- mulf $n (get $each $unit) | ceil | int -}}
{{- end -}}

{{- define "orchestrate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "orchestrate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "orchestrate.env" -}}
- name: ORCHESTRATE_CONFIG
  value: /etc/orchestrate/orchestrate.yaml
- name: ORCHESTRATE_BLUE_URL_FILE
  value: /run/secrets/orchestrate/blue/{{ .Values.blue.key }}
- name: ORCHESTRATE_GREEN_URL_FILE
  value: /run/secrets/orchestrate/green/{{ .Values.green.key }}
- name: ORCHESTRATE_LOG_FORMAT
  value: {{ get .Values.config "log-format" | default "json" }}
{{- if .Values.traffic.pgbouncerConsoles.existingSecret }}
- name: ORCHESTRATE_PGBOUNCER_CONSOLES
  valueFrom:
    secretKeyRef:
      name: {{ .Values.traffic.pgbouncerConsoles.existingSecret }}
      key: {{ .Values.traffic.pgbouncerConsoles.key }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "orchestrate.mounts" -}}
- name: config
  mountPath: /etc/orchestrate
  readOnly: true
- name: blue
  mountPath: /run/secrets/orchestrate/blue
  readOnly: true
- name: green
  mountPath: /run/secrets/orchestrate/green
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "orchestrate.volumes" -}}
- name: config
  configMap:
    name: {{ include "orchestrate.fullname" . }}
- name: blue
  secret:
    secretName: {{ .Values.blue.existingSecret }}
    # 0440, for the group of the pod
    defaultMode: 288
- name: green
  secret:
    secretName: {{ .Values.green.existingSecret }}
    # 0440, for the group of the pod
    defaultMode: 288
- name: tmp
  emptyDir: {}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The pod of everything that is not the runner: dict "root" $ "args" list "token" bool, perhaps "application" name of a Secret */}}
{{- define "orchestrate.oneShot" -}}
restartPolicy: Never
enableServiceLinks: false
serviceAccountName: {{ include "orchestrate.serviceAccount" .root }}
automountServiceAccountToken: {{ .token }}
terminationGracePeriodSeconds: {{ add (include "orchestrate.budgetSeconds" .root | int) 30 }}
securityContext:
  {{- include "orchestrate.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: orchestrate
    image: {{ include "orchestrate.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args:
      {{- toYaml .args | nindent 6 }}
    env:
      {{- include "orchestrate.env" .root | nindent 6 }}
    securityContext:
      {{- include "orchestrate.containerSecurity" .root | nindent 6 }}
    resources:
      {{- toYaml .root.Values.resources | nindent 6 }}
    volumeMounts:
      {{- include "orchestrate.mounts" .root | nindent 6 }}
      {{- if .application }}
      - name: application
        mountPath: /run/secrets/orchestrate/application
        readOnly: true
      {{- end }}
volumes:
  {{- include "orchestrate.volumes" .root | nindent 2 }}
  {{- with .application }}
  - name: application
    secret:
      secretName: {{ . }}
      # 0440, for the group of the pod
      defaultMode: 288
  {{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
