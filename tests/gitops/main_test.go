package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const health = "../../docs/argocd/health.yaml"

func check(t *testing.T) string {
	t.Helper()
	check, err := readCheck(health)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

// A plugin of generation 3 whose conditions are given as "Type=Status/Reason".
func plugin(observed int64, conditions ...string) *unstructured.Unstructured {
	var list []any
	for _, text := range conditions {
		kind, rest, _ := strings.Cut(text, "=")
		status, reason, _ := strings.Cut(rest, "/")
		list = append(list, map[string]any{"type": kind, "status": status, "reason": reason, "message": reason})
	}
	status := map[string]any{"observedGeneration": observed}
	if list != nil {
		status["conditions"] = list
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "goforward.dev/v1alpha1",
		"kind":       "Plugin",
		"metadata":   map[string]any{"name": "p", "namespace": "shop", "generation": int64(3)},
		"status":     status,
	}}
}

func deleted(object *unstructured.Unstructured) *unstructured.Unstructured {
	object.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	return object
}

func TestEachPhaseOfAPluginIsWhatToolsTakeItFor(t *testing.T) {
	ready := []string{"Ready=True/Ready", "Reconciling=False/Settled", "Stalled=False/NotStalled"}
	for name, row := range map[string]struct {
		object        *unstructured.Unstructured
		kstatus, argo string
	}{
		// The API server's default, before the operator has seen it.
		"new":                       {plugin(-1), "InProgress", "Progressing"},
		"ready":                     {plugin(3, ready...), "Current", "Healthy"},
		"changed, and not yet seen": {plugin(2, ready...), "InProgress", "Progressing"},
		"on its way":                {plugin(3, "Ready=False/RollingOut", "Reconciling=True/RollingOut", "Stalled=False/NotStalled"), "InProgress", "Progressing"},
		"waits for a dependency":    {plugin(3, "Ready=False/DependencyMissing", "Reconciling=True/DependencyMissing", "Stalled=False/NotStalled"), "InProgress", "Progressing"},
		"failed":                    {plugin(3, "Ready=False/Crashing", "Reconciling=False/Settled", "Stalled=True/Crashing"), "Failed", "Degraded"},
		"failed, and changed since": {plugin(2, "Ready=False/Crashing", "Reconciling=False/Settled", "Stalled=True/Crashing"), "InProgress", "Progressing"},
		"ready, and on its way":     {plugin(3, "Ready=True/Ready", "Reconciling=True/RollingOut", "Stalled=False/NotStalled"), "InProgress", "Progressing"},
		"not well":                  {plugin(3, "Ready=False/Unhealthy", "Reconciling=False/Settled", "Stalled=False/NotStalled"), "InProgress", "Progressing"},
		"going":                     {deleted(plugin(3, "Ready=False/Deleting", "Reconciling=True/Deleting", "Stalled=False/NotStalled")), "Terminating", "Progressing"},
		"going, and still ready":    {deleted(plugin(3, ready...)), "Terminating", "Progressing"},
	} {
		said, err := judge(row.object, check(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if said.Kstatus.Status != row.kstatus || said.Argo.Status != row.argo {
			t.Errorf("%s: kstatus says %s and Argo CD %s, not %s and %s", name, said.Kstatus.Status, said.Argo.Status, row.kstatus, row.argo)
		}
	}
}

func TestWhatIsStoppedOnPurposeIsNoFailure(t *testing.T) {
	for _, reason := range []string{"Suspended", "ScaledToZero", "Disabled", "SystemDisabled"} {
		for _, status := range []string{"True", "False"} {
			object := plugin(3, "Ready="+status+"/"+reason, "Reconciling=False/Settled", "Stalled=False/NotStalled")
			said, err := judge(object, check(t))
			if err != nil {
				t.Fatal(err)
			}
			if said.Kstatus.Status == "Failed" || said.Argo.Status != "Suspended" {
				t.Errorf("%s, Ready %s: %+v", reason, status, said)
			}
		}
	}
}

var condition = regexp.MustCompile(`^  (\w+) +(True|False|Unknown) +(\w+): (.*)$`)

// The decisions in the golden cases of plan/, as the statuses that they become.
func golden(t *testing.T) map[string]*unstructured.Unstructured {
	t.Helper()
	reports, err := filepath.Glob("../../plan/tests/cases/*/report.txt")
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]*unstructured.Unstructured{}
	for _, report := range reports {
		text, err := os.ReadFile(report)
		if err != nil {
			t.Fatal(err)
		}
		var list []any
		var name string
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			line := lines.Text()
			if found := condition.FindStringSubmatch(line); found != nil {
				list = append(list, map[string]any{"type": found[1], "status": found[2], "reason": found[3], "message": found[4]})
				object := plugin(3)
				object.Object["status"].(map[string]any)["conditions"] = list
				objects[name] = object
			} else if line != "" && !strings.HasPrefix(line, " ") {
				list, name = nil, filepath.Base(filepath.Dir(report))+": "+line
			}
		}
	}
	return objects
}

func TestGoldenStatusesMeanTheSameToAll(t *testing.T) {
	objects := golden(t)
	if len(objects) < 100 {
		t.Fatalf("only %d decisions found", len(objects))
	}
	seen := map[string]int{}
	for name, object := range objects {
		said, err := judge(object, check(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		seen[said.Kstatus.Status]++
		is := map[string]bool{}
		list, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
		for _, one := range list {
			one := one.(map[string]any)
			is[one["type"].(string)] = one["status"] == "True"
		}
		if (said.Kstatus.Status == "Failed") != is["Stalled"] || (said.Argo.Status == "Degraded") != is["Stalled"] {
			t.Errorf("%s: Stalled %t, but %+v", name, is["Stalled"], said)
		}
		if is["Ready"] && said.Kstatus.Status != "Current" {
			t.Errorf("%s: it is ready, but %+v", name, said)
		}
		if (said.Argo.Status == "Healthy") && !is["Ready"] || is["Reconciling"] && said.Argo.Status != "Progressing" {
			t.Errorf("%s: Ready %t, Reconciling %t, but %+v", name, is["Ready"], is["Reconciling"], said)
		}
	}
	for _, status := range []string{"Current", "Failed", "InProgress"} {
		if seen[status] == 0 {
			t.Errorf("no golden status is %s: %v", status, seen)
		}
	}
}

func TestAnswersEachLineWithOne(t *testing.T) {
	var output bytes.Buffer
	first, err := plugin(3, "Ready=True/Ready").MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	second, err := plugin(-1).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := run([]string{health}, bytes.NewReader(append(first, second...)), &output); err != nil {
		t.Fatal(err)
	}
	want := `{"kstatus":{"status":"Current","message":"Resource is Ready"},"argo":{"status":"Healthy","message":"Ready"}}
{"kstatus":{"status":"InProgress","message":"Plugin generation is 3, but latest observed generation is -1"},` +
		`"argo":{"status":"Progressing","message":"the operator has not looked at this generation yet"}}
`
	if output.String() != want {
		t.Errorf("got\n%swant\n%s", output.String(), want)
	}
}

func TestRefusesACheckThatAnswersNoHealth(t *testing.T) {
	for _, wrong := range []string{`return {status = "Fine"}`, `return 1`, `return {`, `while true do end`, `return {status = string.upper("a")}`} {
		if said, err := judge(plugin(3), wrong); err == nil {
			t.Errorf("%s: %+v", wrong, said)
		}
	}
}
