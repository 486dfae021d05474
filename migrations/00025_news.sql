-- What is new in a case, for lists: its newest event as each side sees it, in the case's own row, so that a page of fifty cases reads no
-- timeline; and when somebody looked at it on a visit before this one, for the line in the timeline.

-- +goose Up
ALTER TABLE cases ADD COLUMN last_donor jsonb, ADD COLUMN last_patient jsonb; -- at, recorded_at, code, actor, args
ALTER TABLE case_looks ADD COLUMN visited_at timestamptz;

-- Cases that are open have theirs from the beginning. Which codes which side sees is as it was when this was written.
SET LOCAL liferelay.everywhere = 'on'; -- row policies hold the owner too
WITH seen AS (
    SELECT e.case_id, jsonb_build_object('at', e.at, 'recorded_at', e.recorded_at, 'code', e.code, 'actor', e.actor, 'args', e.args) AS told, e.at, e.recorded_at, e.id,
        e.code = ANY (ARRAY[
            'attachment.patient.added', 'attachment.patient.removed', 'search.opened', 'search.run', 'search.choice.request', 'search.choice.none', 'search.closed']) AS patients, e.code = ANY (ARRAY[
            'case.opened', 'case.ended', 'case.reopened', 'case.promoted', 'stemcell.remobilisation.willing', 'stemcell.confirmatory_sample.drawn', 'stemcell.confirmatory_typing.typed', 'stemcell.hospital_decision.use', 'stemcell.hospital_decision.hold', 'stemcell.hospital_decision.release', 'stemcell.donation_consent.signed', 'stemcell.clearance.cleared', 'stemcell.clearance.not_cleared', 'stemcell.schedule.confirm', 'stemcell.schedule.propose', 'stemcell.schedule.cannot', 'stemcell.conditioning.started', 'stemcell.conditioning.postponed', 'stemcell.conditioning.cancelled', 'stemcell.collection.collected', 'stemcell.dispatch.handed_over', 'stemcell.receipt.received', 'stemcell.receipt.lost', 'stemcell.quarantine.release', 'stemcell.quarantine.discard', 'stemcell.infusion.infused', 'stemcell.infusion.not_used', 'stemcell.emergency.opened']) AS eithers
    FROM events e JOIN cases c ON c.id = e.case_id WHERE c.status = 'open'),
donor AS (SELECT DISTINCT ON (case_id) case_id, told FROM seen WHERE NOT patients ORDER BY case_id, at DESC, recorded_at DESC, id DESC),
patient AS (SELECT DISTINCT ON (case_id) case_id, told FROM seen WHERE patients OR eithers ORDER BY case_id, at DESC, recorded_at DESC, id DESC)
UPDATE cases c SET last_donor = d.told, last_patient = p.told
FROM (SELECT DISTINCT case_id FROM seen) s LEFT JOIN donor d USING (case_id) LEFT JOIN patient p USING (case_id) WHERE c.id = s.case_id;

-- +goose Down
ALTER TABLE case_looks DROP COLUMN visited_at;
ALTER TABLE cases DROP COLUMN last_donor, DROP COLUMN last_patient;
