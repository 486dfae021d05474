package faults

import (
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/registry"
)

func TestFactsDeliveredTwiceChangeNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	service := h.serve()
	h.work()
	story(h, service)
	before, decided := ledger(h), decisions(h)
	h.write(`UPDATE outbox SET delivered_at = NULL, next_at = now()`)
	h.write(`NOTIFY outbox`)
	delivered(h)
	quiet(h)
	require.Equal(t, before, ledger(h))
	require.Equal(t, decided, decisions(h))
}

func TestManyWorkersAndRelaysDoWhatOneDoes(t *testing.T) {
	t.Parallel()
	alone := newHouse(t)
	story(alone, alone.serve("--worker"))

	h := newHouse(t)
	h.work()
	h.work()
	story(h, h.serve("--worker"))
	require.Equal(t, ledger(alone), ledger(h))
	require.Equal(t, decisions(alone), decisions(h))
}

func TestOfTwoHospitalsThatAskForADonorAtOnceOneGetsThem(t *testing.T) {
	t.Parallel()
	const rounds = 20
	h := newHouse(t)
	service := h.serve()
	h.work()
	donors := typed(h, 1, rounds)
	listed(h, rounds)
	hospitals := [2]*person{h.signIn(service, "transplant"), h.signIn(service, "other")}
	var searches [rounds][2]uuid.UUID
	for i := range searches {
		searches[i] = [2]uuid.UUID{searching(h, h.TransplantDoctor), searching(h, h.OtherDoctor)}
	}
	for i, donor := range donors {
		var tasks [2]registry.TaskView
		for side, hospital := range hospitals {
			tasks[side] = hospital.task("search.choice", searches[i][side])
		}
		var answers [2]answer
		var both sync.WaitGroup
		start := make(chan struct{})
		for side, hospital := range hospitals {
			both.Go(func() {
				<-start
				answers[side] = hospital.send(answering(tasks[side], map[string]any{"outcome": "request", "donors": []uuid.UUID{donor}}))
			})
		}
		close(start)
		both.Wait()
		winner, loser := answers[0], answers[1]
		if winner.status != http.StatusOK {
			winner, loser = loser, winner
		}
		require.Equal(t, http.StatusOK, winner.status, "round %d: %s %s", i+1, winner.body, loser.body)
		require.Equal(t, http.StatusConflict, loser.status, "round %d: %s", i+1, loser.body)
		require.Contains(t, []string{"donor_reserved", "donor_unavailable"}, loser.code(), "round %d", i+1)
	}
	require.Equal(t, rounds, read[int](h, `SELECT count(*) FROM link.requests`))
	require.Equal(t, rounds, read[int](h, `SELECT count(DISTINCT registration_id) FROM reservations WHERE released_at IS NULL`))
	require.Equal(t, rounds, read[int](h, `SELECT count(*) FROM cases WHERE protocol = 'stemcell'`))
}
