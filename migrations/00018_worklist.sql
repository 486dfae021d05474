-- The worklist: in what order open tasks are to be done, who is at one, whose it is, when its clock stands still; what somebody has seen of
-- a case, their own views of the list; and cases that go from one coordinator to the next.

-- +goose Up
SET LOCAL liferelay.everywhere = 'on'; -- row policies hold the owner too

-- How urgent the patient's need is, as a code and nothing else of the patient: both sides of a case order their work by it.
-- +goose StatementBegin
CREATE FUNCTION urgency_of_case(wanted uuid) RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public AS $$
DECLARE
    before text := coalesce(current_setting('liferelay.everywhere', true), '');
    found_urgency text;
BEGIN
    PERFORM set_config('liferelay.everywhere', 'on', true);
    SELECT p.urgency INTO found_urgency FROM cases c
        LEFT JOIN link.requests q ON q.case_id = c.id
        LEFT JOIN searches s ON s.id = c.subject_id AND c.protocol = 'search'
        JOIN patients p ON p.id = coalesce(q.patient_id, s.patient_id)
    WHERE c.id = wanted;
    PERFORM set_config('liferelay.everywhere', before, true);
    RETURN coalesce(found_urgency, '');
END $$;
-- +goose StatementEnd

-- rank_at is the deadline, less a lead for an urgent patient: who sorts by it does first what would cost a match first, and the order
-- does not change as time passes. province, city and county are the task's region on each level: a grant is of one of them, so a page of
-- a list is read in its order from one index.
ALTER TABLE tasks
    ADD COLUMN urgency text NOT NULL DEFAULT '' CHECK (urgency IN ('', 'routine', 'urgent', 'critical')),
    ADD COLUMN rank_at timestamptz,
    ADD COLUMN paused_at timestamptz,                    -- since when the clock stands still
    ADD COLUMN paused_for text NOT NULL DEFAULT '',
    ADD COLUMN resumes_at timestamptz,                   -- when it runs again by itself
    ADD COLUMN pauses smallint NOT NULL DEFAULT 0,       -- how often it was stopped
    ADD COLUMN extended smallint NOT NULL DEFAULT 0,     -- how often more time was given
    ADD COLUMN province text GENERATED ALWAYS AS (left(region, 2) || '0000') STORED,
    ADD COLUMN city text GENERATED ALWAYS AS (left(region, 4) || '00') STORED,
    ADD COLUMN county text GENERATED ALWAYS AS (left(region, 6)) STORED,
    ADD COLUMN any_office boolean GENERATED ALWAYS AS (organisation_id IS NULL) STORED;
UPDATE tasks t SET rank_at = due_at, urgency = CASE WHEN t.status = 'open' AND c.protocol IN ('stemcell', 'search') THEN urgency_of_case(c.id) ELSE '' END FROM cases c WHERE c.id = t.case_id;
ALTER TABLE tasks ALTER COLUMN rank_at SET NOT NULL;
ALTER TABLE tasks ADD CONSTRAINT tasks_paused_whole CHECK ((paused_at IS NULL) = (resumes_at IS NULL) AND (paused_at IS NULL) = (paused_for = ''));

-- The program before knows nothing of ranks.
-- +goose StatementBegin
CREATE FUNCTION task_ranked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.rank_at := coalesce(NEW.rank_at, NEW.due_at);
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER tasks_ranked BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION task_ranked();

CREATE INDEX tasks_work_office ON tasks (organisation_id, rank_at, id) WHERE status = 'open';
CREATE INDEX tasks_work_nation ON tasks (any_office, rank_at, id) WHERE status = 'open';
CREATE INDEX tasks_work_province ON tasks (province, any_office, rank_at, id) WHERE status = 'open';
CREATE INDEX tasks_work_city ON tasks (city, any_office, rank_at, id) WHERE status = 'open';
CREATE INDEX tasks_work_county ON tasks (county, any_office, rank_at, id) WHERE status = 'open';
CREATE INDEX tasks_work_assignee ON tasks (assignee_id, rank_at, id) WHERE status = 'open' AND assignee_id IS NOT NULL;
CREATE INDEX tasks_work_paused ON tasks (resumes_at) WHERE status = 'open' AND paused_at IS NOT NULL;

-- Who is at a task: one person, for half an hour at a time. That a task is one person's is the key, and not anybody's memory.
CREATE TABLE task_leases (
    task_id         uuid PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
    staff_id        uuid NOT NULL REFERENCES staff,
    organisation_id uuid NOT NULL REFERENCES organisations,
    since           timestamptz NOT NULL,
    until           timestamptz NOT NULL
);
CREATE INDEX task_leases_of ON task_leases (staff_id, until);
CREATE INDEX task_leases_over ON task_leases (until);

-- More time, a pause and its end: asked for by whoever answers the task, and brought to the desk, which carries it out. Beyond what the
-- rules leave to them a supervisor decides (waiting).
CREATE TABLE clock_requests (
    id           uuid PRIMARY KEY,
    task_id      uuid NOT NULL REFERENCES tasks ON DELETE CASCADE,
    case_id      uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('more_time', 'pause', 'resume')),
    reason       text NOT NULL DEFAULT '',
    until        timestamptz,                  -- the new deadline, or when a pause ends by itself
    asked_by     uuid NOT NULL REFERENCES staff,
    asked_at     timestamptz NOT NULL,
    command      text NOT NULL,                -- the caller's idempotency key
    status       text NOT NULL CHECK (status IN ('waiting', 'pending', 'done', 'refused')),
    decided_by   uuid REFERENCES staff,        -- the supervisor, where one had to
    decided_at   timestamptz,
    refused_code text NOT NULL DEFAULT '',
    purpose      text NOT NULL DEFAULT '',
    next_at      timestamptz,                  -- when the relay tries again to bring it to the desk
    version      bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX clock_requests_command ON clock_requests (task_id, asked_by, command);
CREATE UNIQUE INDEX clock_requests_one_waiting ON clock_requests (task_id) WHERE status IN ('waiting', 'pending');
CREATE INDEX clock_requests_pending ON clock_requests (next_at) WHERE status = 'pending';
CREATE INDEX clock_requests_waiting ON clock_requests (id) WHERE status = 'waiting';
CREATE INDEX clock_requests_of_case ON clock_requests (case_id);

-- What a member of staff has seen of a case, and their own views of the worklist.
CREATE TABLE case_looks (
    staff_id  uuid NOT NULL REFERENCES staff,
    case_id   uuid NOT NULL REFERENCES cases ON DELETE CASCADE,
    looked_at timestamptz NOT NULL,
    PRIMARY KEY (staff_id, case_id)
);
CREATE INDEX case_looks_of_case ON case_looks (case_id);

CREATE TABLE saved_views (
    id         uuid PRIMARY KEY,
    staff_id   uuid NOT NULL REFERENCES staff,
    name       text NOT NULL,
    query      jsonb NOT NULL,                 -- a tab and the list's filters: codes, a region, the beginning of a case number
    is_default boolean NOT NULL DEFAULT false,
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX saved_views_name ON saved_views (staff_id, lower(name));
CREATE UNIQUE INDEX saved_views_one_default ON saved_views (staff_id) WHERE is_default;

-- A case that is handed over: offered, and then accepted, declined, withdrawn, or nobody's answer in time.
CREATE TABLE handovers (
    id                uuid PRIMARY KEY,
    case_id           uuid NOT NULL REFERENCES cases ON DELETE CASCADE,
    region            text NOT NULL,           -- of the case when it was offered
    from_staff        uuid NOT NULL REFERENCES staff,
    from_organisation uuid NOT NULL REFERENCES organisations,
    to_staff          uuid REFERENCES staff,   -- NULL: whoever coordinates at the office
    to_organisation   uuid NOT NULL REFERENCES organisations,
    reason            text NOT NULL,
    promises_sealed   bytea,                   -- what was promised to the donor, in words; with the donor's key
    key_of            uuid,
    next_contact      timestamptz,
    share_id          uuid,                    -- what lets an office elsewhere read what it is offered
    status            text NOT NULL CHECK (status IN ('offered', 'accepted', 'declined', 'withdrawn', 'expired')),
    decline_reason    text NOT NULL DEFAULT '',
    offered_at        timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    decided_by        uuid REFERENCES staff,
    decided_at        timestamptz,
    version           bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX handovers_one_open ON handovers (case_id) WHERE status = 'offered';
CREATE INDEX handovers_to ON handovers (to_organisation, id) WHERE status = 'offered';
CREATE INDEX handovers_from ON handovers (from_organisation, id);
CREATE INDEX handovers_expiring ON handovers (expires_at) WHERE status = 'offered';
CREATE INDEX handovers_of_case ON handovers (case_id);

-- Whose rows an act reaches, as in 00006_second_wall.sql.
-- +goose StatementBegin
DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    reach      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.reach'', true), '''')::region_ranges)';
    office     constant text := '(SELECT nullif(current_setting(''liferelay.office'', true), '''')::uuid)';
    member     constant text := '(SELECT nullif(current_setting(''liferelay.staff'', true), '''')::uuid)';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['task_leases', 'organisation_id = ' || office || ' OR EXISTS (SELECT FROM tasks g WHERE g.id = task_leases.task_id)'],
        ['clock_requests', 'asked_by = ' || member || ' OR EXISTS (SELECT FROM tasks g WHERE g.id = clock_requests.task_id)'],
        ['case_looks', 'staff_id = ' || member],
        ['saved_views', 'staff_id = ' || member],
        ['handovers', 'region' || reach || ' OR ' || office || ' IN (from_organisation, to_organisation)']
    ] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('CREATE POLICY reached ON %s USING (%s OR %s) WITH CHECK (true)', rule[1], everywhere, rule[2]);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE handovers, saved_views, case_looks, clock_requests, task_leases;
DROP TRIGGER tasks_ranked ON tasks;
DROP INDEX tasks_work_office, tasks_work_nation, tasks_work_province, tasks_work_city, tasks_work_county, tasks_work_assignee, tasks_work_paused;
ALTER TABLE tasks DROP CONSTRAINT tasks_paused_whole, DROP COLUMN urgency, DROP COLUMN rank_at, DROP COLUMN paused_at, DROP COLUMN paused_for, DROP COLUMN resumes_at, DROP COLUMN pauses, DROP COLUMN extended,
    DROP COLUMN province, DROP COLUMN city, DROP COLUMN county, DROP COLUMN any_office;
DROP FUNCTION urgency_of_case, task_ranked;
