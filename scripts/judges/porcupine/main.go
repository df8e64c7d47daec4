// Command porcupine judges a history of registers, one call a line as JSON (scripts/judges/register_lines.py).
//
// Its last line is "linearizable" or "not linearizable"; before it, one line for each key that is not.  Exit
// code 0, 1, or 2 for a history that it cannot read or did not decide in time.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"
)

const limit = 5 * time.Minute

// call is one line.  A nil Value of a cas deletes; a nil Returned or the outcome "unknown" means that the
// change may take effect at any later time, or never.
type call struct {
	Session       string   `json:"session"`
	Kind          string   `json:"kind"`
	Key           string   `json:"key"`
	Invoked       float64  `json:"invoked"`
	Returned      *float64 `json:"returned"`
	Value         *string  `json:"value"`
	By            int64    `json:"by"`
	Expect        *string  `json:"expect"`
	ExpectVersion *int64   `json:"expect_version"`
	Outcome       string   `json:"outcome"`
	Version       int64    `json:"version"`
	Shown         *string  `json:"shown"`
}

// register is what a register holds: a version, and a value unless it has none.
type register struct {
	version int64
	exists  bool
	value   string
}

func same(one *string, r register) bool {
	return (one != nil) == r.exists && (one == nil || *one == r.value)
}

func fits(c call, r register) bool {
	if c.ExpectVersion != nil {
		return *c.ExpectVersion == r.version
	}
	return same(c.Expect, r)
}

func after(c call, r register) (register, bool) {
	next := register{version: r.version + 1}
	switch c.Kind {
	case "cas":
		if !fits(c, r) {
			return r, false
		}
		if c.Value != nil {
			next.exists, next.value = true, *c.Value
		}
	case "incr":
		number := int64(0)
		if r.exists {
			parsed, err := strconv.ParseInt(r.value, 10, 64)
			if err != nil {
				return r, false
			}
			number = parsed
		}
		next.exists, next.value = true, strconv.FormatInt(number+c.By, 10)
	}
	return next, true
}

// step tells whether the answer fits, and what the register holds then.
func step(state, input, _ interface{}) (bool, interface{}) {
	r, c := state.(register), input.(call)
	if c.Kind == "get" {
		return c.Version == r.version && same(c.Shown, r), r
	}
	next, applies := after(c, r)
	switch c.Outcome {
	case "conflict":
		return !fits(c, r) && c.Version == r.version && same(c.Shown, r), r
	case "ok":
		if c.Kind == "cas" {
			return applies && c.Version == next.version, next
		}
		return applies && same(c.Shown, next), next
	default: // unknown: if it has no effect here, or comes after everything, it was never made
		return true, next
	}
}

func read(path string) (map[string][]porcupine.Operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	byKey := map[string][]porcupine.Operation{}
	clients := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, err
		}
		told := c.Outcome == "ok" || c.Outcome == "conflict"
		if !told && (c.Kind == "get" || c.Outcome == "failed") {
			continue // told nothing and did nothing
		}
		if _, known := clients[c.Session]; !known {
			clients[c.Session] = len(clients)
		}
		returned := int64(math.MaxInt64)
		if told && c.Returned != nil {
			returned = nanoseconds(*c.Returned)
		}
		byKey[c.Key] = append(byKey[c.Key], porcupine.Operation{
			ClientId: clients[c.Session], Input: c, Call: nanoseconds(c.Invoked), Return: returned,
		})
	}
	return byKey, lines.Err()
}

func nanoseconds(seconds float64) int64 { return int64(math.Round(seconds * 1e9)) }

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: porcupine HISTORY")
		os.Exit(2)
	}
	byKey, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	model := porcupine.Model{
		Init:  func() interface{} { return register{} },
		Step:  step,
		Equal: func(one, other interface{}) bool { return one == other },
	}
	keys := make([]string, 0, len(byKey))
	for key := range byKey {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	code := 0
	for _, key := range keys {
		switch porcupine.CheckOperationsTimeout(model, byKey[key], limit) {
		case porcupine.Illegal:
			fmt.Printf("%s: no order of its %d calls explains every answer\n", key, len(byKey[key]))
			code = 1
		case porcupine.Unknown:
			fmt.Fprintf(os.Stderr, "%s: not decided within %s\n", key, limit)
			os.Exit(2)
		}
	}
	if code == 0 {
		fmt.Println("linearizable")
	} else {
		fmt.Println("not linearizable")
	}
	os.Exit(code)
}
