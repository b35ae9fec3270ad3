// Package sitetest is what the tests share that make whole factories (perso/cmd/chaos, perso/cmd/e2e). Only tests import this package.
package sitetest

import (
	"flag"
	"fmt"
	"strconv"
)

// MaxFactories is how many factories a package makes side by side. Each is a dozen processes, which wait for half of their time: on two
// processors two are done sooner than one after the other, and more processors make no room for more of what tests time out on,
// disk and memory.
const MaxFactories = 2

// Bound keeps parallel tests at MaxFactories where the processors, or who asked, would have more of them. It is for TestMain, before it
// runs the tests.
func Bound() error {
	if !flag.Parsed() {
		flag.Parse()
	}
	const name = "test.parallel"
	asked := flag.Lookup(name)
	if asked == nil {
		return fmt.Errorf("bounding factories: no flag %s", name)
	}
	if n, err := strconv.Atoi(asked.Value.String()); err != nil || n > MaxFactories {
		return flag.Set(name, strconv.Itoa(MaxFactories))
	}
	return nil
}
