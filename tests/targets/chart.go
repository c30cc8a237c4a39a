// Renders the templates of a Helm chart with the engine that Helm uses, Go's text/template, and with those of Helm's
// functions that our chart uses.
//
// usage: chart DIRECTORY <VALUES: a JSON object with Values, Release and Chart
package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"text/template"
)

func main() {
	var context map[string]any
	check(json.NewDecoder(os.Stdin).Decode(&context))
	functions := template.FuncMap{
		"toJson": func(value any) (string, error) {
			text, err := json.Marshal(value)
			return string(text), err
		},
		"default": func(fallback, value any) any {
			if value == nil || value == "" {
				return fallback
			}
			return value
		},
	}
	files, err := filepath.Glob(filepath.Join(os.Args[1], "templates", "*.yaml"))
	check(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(err)
		// A value that does not exist is a mistake of the template.
		parsed, err := template.New(file).Funcs(functions).Option("missingkey=error").Parse(string(text))
		check(err)
		_, err = os.Stdout.WriteString("---\n")
		check(err)
		check(parsed.Execute(os.Stdout, context))
	}
}

func check(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
