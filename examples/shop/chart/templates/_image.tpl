{{- /* An image of ours in the registry that is set; another one stays as it is. */ -}}
{{- define "shop.image" -}}
{{ regexReplaceAll "^forward\\.local/" .image (printf "%s/" .root.Values.image.registry) }}
{{- end }}
