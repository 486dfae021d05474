package web_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/liferelay/liferelay/workflows/workflowstest"
)

// A coordinator answers on the page, sees what an undo would do, and takes the answer back: the whole thing, as it is run.
func TestAStepIsAnsweredAndOpenedAgainOnItsPages(t *testing.T) {
	t.Parallel()
	p, d := newDesk(t)
	donors := d.Listed(1, workflowstest.GL)
	_, cases := d.Requested(d.TransplantDoctor, donors[0])
	path := "/cases/" + cases[0].String()
	call := d.Task(d.Coordinator, "stemcell.remobilisation", cases[0])
	page := p.get(d.Coordinator, path).is(200)
	answered := p.post(d.Coordinator, page, "/steps/"+call.ID.String()+"/answer", "outcome", "willing").is(200)
	require.Contains(t, answered.words(), "反馈已提交")
	require.Contains(t, answered.words(), "预约高分辨采样")
	require.Positive(t, answered.Find(`select[name=hospital] option, input[name=hospital]`).Length(), "the hospitals are offered")

	undo := p.get(d.Coordinator, path+"/undo?step=stemcell.remobilisation").is(200)
	for _, said := range []string{"捐献者愿意", "预约高分辨采样", "新待办：再动员", "确认重开"} {
		require.Contains(t, undo.words(), said)
	}
	wanting := p.post(d.Coordinator, undo, path+"/undo").is(422)
	require.NotEmpty(t, wanting.Find(".says-wrong").Text(), "a reason is asked")
	require.Contains(t, p.get(d.Coordinator, path+"/undo?step=stemcell.infusion").words(), "尚未完成")
	back := p.post(d.Coordinator, undo, path+"/undo", "reason", "wrong_entry").is(200)
	require.Contains(t, back.words(), "环节已重开")
	require.Equal(t, 1, back.Find(`.steps [aria-current=step]:contains("再动员")`).Length())
	again := p.post(d.Coordinator, wanting, path+"/undo", "reason", "other")
	require.Contains(t, []int{409, 422}, again.status, "what was previewed is not the case any more")
}
