package api

import "reflect"

// Answers are the types of the answers of every operation, by its pattern.
func Answers() map[string]reflect.Type {
	a, _ := build(Config{})
	return a.answers
}
