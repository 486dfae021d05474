-- What people ask about their own data, the copies that are made for them, and whose data is stored and nothing else.
-- +goose Up
ALTER TABLE cases DROP CONSTRAINT cases_protocol_check;
ALTER TABLE cases ADD CONSTRAINT cases_protocol_check CHECK (protocol IN ('enrolment', 'drive', 'search', 'stemcell', 'care', 'safety', 'rights'));

-- One row has the id of its case.
CREATE TABLE rights_requests (
    id                uuid PRIMARY KEY,
    number            text NOT NULL UNIQUE,      -- RQ-2026-000001
    person_id         uuid NOT NULL REFERENCES persons,
    registration_id   uuid NOT NULL REFERENCES registrations,
    kind              text NOT NULL CHECK (kind IN ('access', 'copy', 'correction', 'withdrawal', 'deletion', 'explanation', 'arrangement', 'kin_access', 'kin_copy', 'kin_correction', 'kin_deletion')),
    asker             text NOT NULL CHECK (asker IN ('person', 'guardian', 'relative')),
    relation          text NOT NULL DEFAULT '',
    via               text NOT NULL,
    region            text NOT NULL,             -- of the registration
    organisation_id   uuid NOT NULL REFERENCES organisations, -- the office that took it
    note_sealed       bytea,
    correction_sealed bytea,                     -- what is right, as the person says
    fields            text[] NOT NULL DEFAULT '{}', -- what the correction is about
    evidence          text NOT NULL DEFAULT '',
    filed_by          uuid NOT NULL REFERENCES staff,
    filed_at          timestamptz NOT NULL,
    proof             text[] NOT NULL DEFAULT '{}',
    proven            text NOT NULL DEFAULT '' CHECK (proven IN ('', 'confirmed', 'not_proven', 'prearranged')),
    decision          text NOT NULL DEFAULT '' CHECK (decision IN ('', 'grant', 'in_part', 'refuse')),
    reason            text NOT NULL DEFAULT '',
    granted           text[] NOT NULL DEFAULT '{}', -- of the fields
    staff_named       boolean NOT NULL DEFAULT false,
    decided_by        uuid REFERENCES staff,
    decided_at        timestamptz,
    result            text NOT NULL DEFAULT '' CHECK (result IN ('', 'granted', 'in_part', 'refused', 'erased', 'blocked')),
    kept              jsonb NOT NULL DEFAULT '[]', -- what erasure left, by class, with the rule and the day
    done_at           timestamptz,
    told_on           date,
    told_via          text NOT NULL DEFAULT '',
    closed_at         timestamptz,
    version           bigint NOT NULL DEFAULT 1
);
CREATE INDEX rights_requests_of ON rights_requests (person_id);
CREATE INDEX rights_requests_about ON rights_requests (registration_id);
CREATE INDEX rights_requests_in ON rights_requests (region text_pattern_ops, id);
CREATE UNIQUE INDEX rights_requests_one_open ON rights_requests (person_id, kind) WHERE closed_at IS NULL;

-- The copy of what is kept about a person: fetched by one member of staff, for a few days, and then emptied.
CREATE TABLE rights_copies (
    id          uuid PRIMARY KEY,
    request_id  uuid NOT NULL REFERENCES rights_requests,
    person_id   uuid NOT NULL REFERENCES persons,
    made_by     uuid NOT NULL REFERENCES staff,
    made_at     timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    data_sealed bytea                            -- NULL once it has expired
);
CREATE INDEX rights_copies_of_person ON rights_copies (person_id);
CREATE INDEX rights_copies_of ON rights_copies (request_id, made_at);
CREATE INDEX rights_copies_expiring ON rights_copies (expires_at) WHERE data_sealed IS NOT NULL;

-- People whose data is only stored (blocked), or is erased but for what the law tells to keep; and those who arranged that
-- relatives shall not act for them once they are dead.
CREATE TABLE restrictions (
    person_id  uuid NOT NULL REFERENCES persons,
    kind       text NOT NULL CHECK (kind IN ('blocked', 'erased', 'no_kin')),
    request_id uuid NOT NULL REFERENCES rights_requests,
    since      timestamptz NOT NULL,
    PRIMARY KEY (person_id, kind)
);

-- Whose rows an act reaches, as in 00006_second_wall.sql. A request is filed in the region of its registration by an office
-- that keeps it in hand; a copy and a restriction are the person's.
-- +goose StatementBegin
DO $$
DECLARE
    everywhere constant text := '(SELECT current_setting(''liferelay.everywhere'', true) = ''on'')';
    reach      constant text := ' <@ (SELECT nullif(current_setting(''liferelay.reach'', true), '''')::region_ranges)';
    office     constant text := '(SELECT nullif(current_setting(''liferelay.office'', true), '''')::uuid)';
    rule       text[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['rights_requests', 'region' || reach || ' OR organisation_id = ' || office],
        ['rights_copies', 'reaches_person(person_id)'],
        ['restrictions', 'reaches_person(person_id)']
    ] LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', rule[1]);
        EXECUTE format('CREATE POLICY reached ON %s USING (%s OR %s) WITH CHECK (true)', rule[1], everywhere, rule[2]);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE restrictions, rights_copies, rights_requests;
ALTER TABLE cases DROP CONSTRAINT cases_protocol_check;
ALTER TABLE cases ADD CONSTRAINT cases_protocol_check CHECK (protocol IN ('enrolment', 'drive', 'search', 'stemcell', 'care', 'safety'));
