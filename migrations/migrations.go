// Package migrations is the shape of the register: SQL files in the order of their numbers, embedded, applied by goose.
//
// A migration only adds: the version of the product that runs before it and the one that runs after it both work while
// it is applied. What it changes in meaning is said in the file.
package migrations

import "embed"

// Files are the migrations.
//
//go:embed *.sql
var Files embed.FS
