package api

import (
	"reflect"

	"go.uber.org/zap"
)

// Answers are the types of the answers of every operation, by its pattern.
func Answers() map[string]reflect.Type {
	a, _ := build(Config{Log: zap.NewNop()})
	return a.answers
}
