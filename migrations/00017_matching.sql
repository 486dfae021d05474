-- What the matching engine of every process follows: whose listing, typing or traits changed. A process remembers how far it has read by the
-- transactions that were over then, so that one that began before and ended after is not missed.

-- +goose Up
CREATE TABLE donor_changes (
    person_id  uuid NOT NULL,
    by_xid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX donor_changes_by ON donor_changes (by_xid);
CREATE INDEX donor_changes_at ON donor_changes (changed_at);
ALTER TABLE donor_changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE donor_changes FORCE ROW LEVEL SECURITY;
CREATE POLICY reached ON donor_changes USING ((SELECT current_setting('liferelay.everywhere', true) = 'on')) WITH CHECK (true);

-- How far open searches have been held against what changed. One process at a time does that.
CREATE TABLE standing_position (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    until    xid8 NOT NULL
);
INSERT INTO standing_position (until) VALUES (pg_snapshot_xmin(pg_current_snapshot()));

-- +goose StatementBegin
CREATE FUNCTION donor_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF TG_TABLE_NAME = 'persons' THEN
        INSERT INTO donor_changes (person_id) VALUES (NEW.id);
    ELSE
        INSERT INTO donor_changes (person_id) VALUES (NEW.person_id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION donors_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY liferelay_donors;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER registrations_listed_changed AFTER UPDATE ON registrations FOR EACH ROW
    WHEN (NEW.programme = 'stemcell' AND (NEW.status = 'listed' OR OLD.status = 'listed') AND (NEW.status, NEW.region, NEW.person_id) IS DISTINCT FROM (OLD.status, OLD.region, OLD.person_id))
    EXECUTE FUNCTION donor_changed();
CREATE TRIGGER registrations_entered_listed AFTER INSERT ON registrations FOR EACH ROW WHEN (NEW.programme = 'stemcell' AND NEW.status = 'listed') EXECUTE FUNCTION donor_changed();
CREATE TRIGGER typings_changed AFTER INSERT OR UPDATE ON typings FOR EACH ROW WHEN (NEW.kind = 'enrolment') EXECUTE FUNCTION donor_changed();
CREATE TRIGGER persons_traits_changed AFTER UPDATE ON persons FOR EACH ROW
    WHEN ((NEW.status, NEW.birth_date, NEW.sex, NEW.abo, NEW.rh, NEW.weight_kg, NEW.last_contact) IS DISTINCT FROM (OLD.status, OLD.birth_date, OLD.sex, OLD.abo, OLD.rh, OLD.weight_kg, OLD.last_contact))
    EXECUTE FUNCTION donor_changed();
CREATE TRIGGER donor_changes_told AFTER INSERT ON donor_changes FOR EACH STATEMENT EXECUTE FUNCTION donors_changed();

-- A report has what may match beside what does for certain, and the chances.
ALTER TABLE link.candidates ADD COLUMN possible smallint, ADD COLUMN chance_10 real, ADD COLUMN chance_9 real;
UPDATE link.candidates SET possible = matched;
ALTER TABLE link.candidates ALTER COLUMN possible SET NOT NULL;
ALTER TABLE searches ADD COLUMN options jsonb NOT NULL DEFAULT '{}', -- ranking and filter, as the hospital asked for them
    ADD COLUMN unread int NOT NULL DEFAULT 0;                        -- donors whose typing the last run could not read

-- +goose Down
ALTER TABLE searches DROP COLUMN options, DROP COLUMN unread;
ALTER TABLE link.candidates DROP COLUMN possible, DROP COLUMN chance_10, DROP COLUMN chance_9;
DROP TRIGGER registrations_listed_changed ON registrations;
DROP TRIGGER registrations_entered_listed ON registrations;
DROP TRIGGER typings_changed ON typings;
DROP TRIGGER persons_traits_changed ON persons;
DROP TABLE donor_changes, standing_position;
DROP FUNCTION donor_changed, donors_changed;
