// Says what tools of the field make of objects: kstatus, by which Flux and Helm wait, and Argo CD
// with a health check in Lua. Both are asked through the very libraries that those tools use.
//
// Usage: gitops HEALTH.yaml < objects. It reads an object as JSON from each line of its input and
// writes a verdict as JSON to a line of its output.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// An object with all its fields can have 1.5 MiB in the API server.
const longestLine = 4 << 20

// What is said of an object.
type verdict struct {
	Kstatus kstatusVerdict `json:"kstatus"`
	Argo    argoVerdict    `json:"argo"`
}

// InProgress, Current, Failed or Terminating.
type kstatusVerdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(arguments []string, input io.Reader, output io.Writer) error {
	if len(arguments) != 1 {
		return errors.New("usage: gitops HEALTH.yaml < objects")
	}
	check, err := readCheck(arguments[0])
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, longestLine)
	encoder := json.NewEncoder(output)
	for number := 1; lines.Scan(); number++ {
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(lines.Bytes()); err != nil {
			return fmt.Errorf("read the object of line %d: %w", number, err)
		}
		said, err := judge(&object, check)
		if err != nil {
			return fmt.Errorf("judge the object of line %d: %w", number, err)
		}
		if err := encoder.Encode(said); err != nil {
			return err
		}
	}
	return lines.Err()
}

func judge(object *unstructured.Unstructured, check string) (*verdict, error) {
	computed, err := status.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("compute kstatus: %w", err)
	}
	argo, err := assess(object, check)
	if err != nil {
		return nil, fmt.Errorf("run the health check: %w", err)
	}
	return &verdict{Kstatus: kstatusVerdict{computed.Status.String(), computed.Message}, Argo: *argo}, nil
}
