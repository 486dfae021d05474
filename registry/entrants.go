package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/liferelay/liferelay/registry/match"
)

// CopyEntrants reads donors for the matching engine out of a query, as fast as PostgreSQL can copy them. The query has these columns, none of them NULL:
//
//	id uuid, typing text (a GL String), release text, birth_year int2, last_contact int2 (days since 1970), sex int2, abo int2, rh int2, cmv int2
//	(codes of registry/match), weight_kg int2, province int2
//
// One core receives and takes apart while another uses what was read. An error of the database ends the sequence.
func CopyEntrants(ctx context.Context, conn *pgx.Conn, query string) iter.Seq2[match.Entrant, error] {
	return func(yield func(match.Entrant, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		pieces, failed := make(chan []match.Entrant, 8), make(chan error, 1)
		go func() {
			defer close(pieces)
			to := &entrantReader{ctx: ctx, to: pieces, header: copyHeader}
			_, err := conn.PgConn().CopyTo(ctx, to, `COPY (`+query+`) TO STDOUT (FORMAT binary)`)
			if err == nil {
				err = to.flush()
			}
			failed <- err
		}()
		for piece := range pieces {
			for i := range piece {
				if !yield(piece[i], nil) {
					cancel()
					for range pieces { // until the connection is free again
						continue
					}
					return
				}
			}
		}
		if err := <-failed; err != nil {
			yield(match.Entrant{}, translate(err))
		}
	}
}

const (
	copyHeader     = 11 + 4 + 4 // signature, flags, length of the extension, which is empty
	entrantColumns = 11
	entrantPiece   = 1024
)

// entrantReader takes rows of PostgreSQL's binary copy format apart (postgresql.org/docs/15/sql-copy.html).
type entrantReader struct {
	ctx    context.Context
	to     chan<- []match.Entrant
	header int
	rest   []byte // of a row that has not all come
	piece  []match.Entrant
	text   []byte // the typings of the piece, one behind the other
	ends   []int  // of each in text
	last   string // the version of the row before: most are the same
}

var errCopy = errors.New("registry: the database copies donors in a form that is not known")

func (r *entrantReader) Write(data []byte) (int, error) {
	n := len(data)
	if r.header > 0 {
		skip := min(r.header, len(data))
		r.header, data = r.header-skip, data[skip:]
	}
	if len(r.rest) > 0 {
		data = append(r.rest, data...)
	}
	for {
		e, typing, version, length, err := readEntrant(data)
		if errors.Is(err, io.ErrShortBuffer) {
			break
		}
		if errors.Is(err, io.EOF) {
			data = nil
			break
		}
		if err != nil {
			return 0, err
		}
		data = data[length:]
		if r.piece == nil {
			r.piece = make([]match.Entrant, 0, entrantPiece)
		}
		if string(version) != r.last {
			r.last = string(version)
		}
		e.Version = r.last
		r.text = append(r.text, typing...)
		r.ends = append(r.ends, len(r.text))
		if r.piece = append(r.piece, e); len(r.piece) == entrantPiece {
			if err := r.flush(); err != nil {
				return 0, err
			}
		}
	}
	r.rest = append(r.rest[:0], data...)
	return n, nil
}

func (r *entrantReader) flush() error {
	if len(r.piece) == 0 {
		return nil
	}
	text, from := string(r.text), 0
	for i, to := range r.ends {
		r.piece[i].Typing, from = text[from:to], to
	}
	r.text, r.ends = r.text[:0], r.ends[:0]
	select {
	case r.to <- r.piece:
		r.piece = nil
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// readEntrant reads one row, its texts apart: io.ErrShortBuffer where it has not all come, io.EOF behind the last.
func readEntrant(data []byte) (e match.Entrant, typing, version []byte, length int, err error) {
	if len(data) < 2 {
		return e, nil, nil, 0, io.ErrShortBuffer
	}
	columns := int(int16(binary.BigEndian.Uint16(data)))
	if columns == -1 {
		return e, nil, nil, 0, io.EOF
	}
	if columns != entrantColumns {
		return e, nil, nil, 0, errCopy
	}
	at := 2
	var number [8]uint16
	for column := range columns {
		if len(data) < at+4 {
			return e, nil, nil, 0, io.ErrShortBuffer
		}
		size := int(int32(binary.BigEndian.Uint32(data[at:])))
		at += 4
		if size < 0 {
			return e, nil, nil, 0, fmt.Errorf("%w: column %d is NULL", errCopy, column+1)
		}
		if len(data) < at+size {
			return e, nil, nil, 0, io.ErrShortBuffer
		}
		value := data[at : at+size]
		at += size
		switch {
		case column == 0 && size == len(uuid.UUID{}):
			copy(e.ID[:], value)
		case column == 1:
			typing = value
		case column == 2:
			version = value
		case column > 2 && size == 2:
			number[column-3] = binary.BigEndian.Uint16(value)
		default:
			return e, nil, nil, 0, errCopy
		}
	}
	e.Traits = match.Traits{
		BirthYear: number[0], LastContact: number[1], Sex: match.Sex(number[2]), ABO: match.ABO(number[3]), Rh: match.Sign(number[4]), CMV: match.Sign(number[5]),
		WeightKG: uint8(number[6]), Province: uint8(number[7]),
	}
	return e, typing, version, at, nil
}
