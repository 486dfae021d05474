package registry_test

import (
	"testing"

	"github.com/liferelay/liferelay/registry/registrytest"
)

func TestHouse(t *testing.T) {
	registrytest.NewHouse(t)
}
