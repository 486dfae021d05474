package forms

import (
	"time"

	"github.com/google/uuid"

	"github.com/liferelay/liferelay/registry/calendar"
	"github.com/liferelay/liferelay/registry/identity"
	"github.com/liferelay/liferelay/registry/seal"
)

// Outcome is what an answer says in codes, days and numbers: all that a protocol needs to go on, and nothing that tells
// who anybody is. It is what enters a workflow's history.
type Outcome struct {
	Code         string          `json:"code"`
	Reason       string          `json:"reason,omitempty"`
	On           calendar.Date   `json:"on,omitzero"`
	Until        calendar.Date   `json:"until,omitzero"`
	Day          int             `json:"day,omitempty"`
	Region       identity.Region `json:"region,omitempty"`
	Hospital     uuid.UUID       `json:"hospital,omitzero"`
	Laboratory   uuid.UUID       `json:"laboratory,omitzero"`
	Window       *Window         `json:"window,omitempty"`
	Donors       []uuid.UUID     `json:"donors,omitempty"` // registrations, the primary first
	Backup       bool            `json:"backup,omitempty"`
	Sufficient   bool            `json:"sufficient,omitempty"`
	Adverse      bool            `json:"adverse,omitempty"`
	OutOfRange   bool            `json:"out_of_range,omitempty"`
	Flags        []string        `json:"flags,omitempty"`
	RescheduleOn calendar.Date   `json:"reschedule_on,omitzero"`
}

// Form is an answer to a step: it sums itself up.
type Form interface{ Summary() Outcome }

// Window is when a collection happens, agreed by four parties. Days are those of the collection hospital's zone.
type Window struct {
	Conditioning calendar.Date `json:"conditioning" validate:"required" doc:"First day of the patient's conditioning." class:"case" mask:"drop"`
	Mobilisation calendar.Date `json:"mobilisation" validate:"required" doc:"Day 1 of the mobilising drug." class:"case" mask:"drop"`
	Collection   calendar.Date `json:"collection" validate:"required" doc:"First day of collection." class:"case" mask:"drop"`
}

// Equal compares two windows day by day.
func (w Window) Equal(other Window) bool { return w == other }

// Problems are what is wrong with the order of the window's days: the drug starts before the collection, at most two
// weeks earlier, and conditioning begins before the collection.
func (w Window) Problems() Problems {
	var out Problems
	switch lead := w.Collection.Sub(w.Mobilisation); {
	case lead < 3 || lead > 14:
		out = append(out, Problem{Code: "R131", Field: "window.mobilisation"})
	}
	if lead := w.Collection.Sub(w.Conditioning); lead < 1 || lead > 30 {
		out = append(out, Problem{Code: "R132", Field: "window.conditioning"})
	}
	return out
}

// ContactAttempt is one try to reach a donor.
type ContactAttempt struct {
	At      time.Time `json:"at" validate:"required" doc:"When the attempt was made."`
	Channel string    `json:"channel" validate:"required,oneof=phone message mail visit"`
	Whom    string    `json:"whom" validate:"required,oneof=donor contact"`
	Result  string    `json:"result" validate:"required,oneof=reached no_answer wrong_number will_call_back refused_to_talk"`
	Note    seal.Note `json:"note,omitzero" validate:"max=1000"`
}
