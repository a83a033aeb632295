// Prints, for each address of this file that it reads, what Go's own runtime says is there.
package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

type pair[K any, V any] struct {
	key   K
	value V
}

type stack[T any] struct{ items []T }

func (s *stack[T]) push(item T) { s.items = append(s.items, item) }

func (s *stack[T]) pop() (T, bool) {
	var none T
	if len(s.items) == 0 {
		return none, false
	}
	last := s.items[len(s.items)-1]
	s.items = s.items[:len(s.items)-1]
	return last, true
}

func double(x int) int { return x * 2 }

func quadruple(x int) int {
	return double(double(x))
}

//go:noinline
func work(words []string) map[string]pair[string, int] {
	found := map[string]pair[string, int]{}
	var s stack[string]
	for i, word := range words {
		s.push(strings.ToUpper(word))
		found[word] = pair[string, int]{word, quadruple(i)}
	}
	for {
		word, ok := s.pop()
		if !ok {
			break
		}
		func() {
			defer delete(found, word)
			found[word] = pair[string, int]{word, len(word)}
		}()
	}
	return found
}

func main() {
	found := work([]string{"a", "b", "c"})
	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	if len(os.Args) < 2 {
		// Where this function is while it runs; the difference to the file is where the program is loaded.
		fmt.Printf("%x\n", reflect.ValueOf(main).Pointer())
		return
	}
	// The address of main in the file.
	inFile, err := strconv.ParseUint(os.Args[1], 16, 64)
	if err != nil {
		panic(err)
	}
	moved := reflect.ValueOf(main).Pointer() - uintptr(inFile)
	input := bufio.NewScanner(os.Stdin)
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	for input.Scan() {
		address, err := strconv.ParseUint(strings.TrimPrefix(input.Text(), "0x"), 16, 64)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(output, "0x%x\n", address)
		// What is asked for are return addresses, one behind the call.
		frames := runtime.CallersFrames([]uintptr{uintptr(address) + moved + 1})
		for {
			frame, more := frames.Next()
			if frame.Function != "" {
				fmt.Fprintf(output, "%s\n%s:%d\n", frame.Function, frame.File, frame.Line)
			}
			if !more {
				break
			}
		}
	}
}
