package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The key in argocd-cm under which Argo CD looks for the check of a Plugin.
const key = "resource.customizations.health.goforward.dev_Plugin"

// As long as Argo CD lets a check run.
const limit = time.Second

// One of healths, and what is shown with it.
type argoVerdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// The words that Argo CD knows; anything else is an error to it.
var healths = map[string]bool{"Healthy": true, "Progressing": true, "Degraded": true, "Suspended": true}

// readCheck gives the Lua that a patch of argocd-cm holds.
func readCheck(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var patch struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.UnmarshalStrict(text, &patch); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	check, found := patch.Data[key]
	if !found {
		return "", fmt.Errorf("%s has no %q", path, key)
	}
	return check, nil
}

// assess runs a check as Argo CD does: the object is the global obj, and of Lua's libraries there
// are only the base, tables and packages.
func assess(object *unstructured.Unstructured, check string) (*argoVerdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		call := lua.P{Fn: state.NewFunction(open), NRet: 0, Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(check); err != nil {
		return nil, err
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return nil, errors.New("it answered no table")
	}
	said := &argoVerdict{Status: lua.LVAsString(answer.RawGetString("status")), Message: lua.LVAsString(answer.RawGetString("message"))}
	if !healths[said.Status] {
		return nil, fmt.Errorf("it answered %q, which is no health", said.Status)
	}
	return said, nil
}

// value turns what JSON can hold into what Lua can.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.CreateTable(len(from), 0)
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(from))
		for name, item := range from {
			table.RawSetString(name, value(state, item))
		}
		return table
	}
	return lua.LNil
}
