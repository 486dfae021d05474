-- Who did or saw what. Rows are only ever added; a chain of seals over them shows any change.

-- +goose Up
CREATE TABLE audit (
    id           uuid NOT NULL,
    recorded_at  timestamptz NOT NULL,
    actor        text NOT NULL,     -- staff:…, system:…, operator:…; no foreign key, so that no removal breaks the log
    organisation text NOT NULL,
    act          text NOT NULL,     -- the registry's method
    action       text NOT NULL,
    class        text NOT NULL,
    relation     text NOT NULL,
    region       text NOT NULL,
    target       text NOT NULL,     -- kind:id of what was acted on; for a list, what kind of list
    shown        int NOT NULL,      -- how many records a list showed or a command touched
    purpose      text NOT NULL,
    reason       text NOT NULL,     -- coded
    allowed      boolean NOT NULL,
    rule         text NOT NULL,     -- the policy's line
    revision     bigint NOT NULL,   -- of the grants
    request      text NOT NULL,
    showed       uuid[] NOT NULL DEFAULT '{}', -- the records that a list showed
    fields       text NOT NULL DEFAULT '', -- of the record, where only some were shown
    address      text NOT NULL DEFAULT '', -- of the caller on the network
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE TABLE audit_other PARTITION OF audit DEFAULT;
CREATE INDEX audit_by_actor ON audit (actor, recorded_at);
CREATE INDEX audit_by_showed ON audit USING gin (showed);
CREATE INDEX audit_by_target ON audit (target, recorded_at);

-- Rows that wait for their seal. The sealer takes them in the order in which they became visible, each exactly once.
CREATE TABLE audit_unsealed (
    recorded_at timestamptz NOT NULL,
    id          uuid NOT NULL,
    PRIMARY KEY (recorded_at, id)
);

-- One link of the chain: the rows it covers, each with its hash, the hash of the link before, and a signature that tells whoever
-- has the public key that the chain had come this far.
CREATE TABLE audit_seals (
    seq       bigint PRIMARY KEY,
    sealed_at timestamptz NOT NULL,
    rows      int NOT NULL,
    total     bigint NOT NULL,       -- rows of this link and all before it
    ids       uuid[] NOT NULL,
    times     timestamptz[] NOT NULL,
    hashes    bytea NOT NULL,        -- 32 bytes a row, in the order of ids
    previous  bytea NOT NULL,
    hash      bytea NOT NULL,        -- keyed; of all the columns above
    signature bytea NOT NULL         -- of the link's head: seq, total, sealed_at, a plain hash of all the columns above, and hash
);

-- +goose StatementBegin
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the audit is only ever added to', TG_OP, TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
-- For each row, because only such a trigger is its partitions' too; TRUNCATE has none, and is refused table by table.
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_not_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_not_emptied BEFORE TRUNCATE ON audit_other
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- +goose StatementBegin
CREATE FUNCTION audit_awaits_seal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_unsealed (recorded_at, id) SELECT recorded_at, id FROM added;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_queue AFTER INSERT ON audit
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_awaits_seal();

-- Months of audit and events get partitions of their own ahead of time.
-- +goose StatementBegin
CREATE FUNCTION ensure_partitions(from_month date, months int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    month  date;
    made   int := 0;
    child  text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['audit', 'events'] LOOP
        FOR i IN 0 .. months - 1 LOOP
            month := (date_trunc('month', from_month) + make_interval(months => i))::date;
            child := parent || '_' || to_char(month, 'YYYY_MM');
            IF to_regclass(child) IS NULL THEN
                BEGIN
                    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
                        month::text || ' 00:00:00+00', (month + interval '1 month')::date::text || ' 00:00:00+00');
                    IF parent = 'audit' THEN
                        EXECUTE format('CREATE TRIGGER audit_not_emptied BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()', child);
                    END IF;
                    made := made + 1;
                EXCEPTION WHEN check_violation THEN
                    NULL; -- rows of that month are in the default partition already; they stay there
                END;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
-- +goose StatementEnd
SELECT ensure_partitions(current_date, 14);

-- +goose Down
DROP TABLE audit_seals, audit_unsealed, audit;
DROP FUNCTION ensure_partitions, audit_awaits_seal, audit_is_append_only;
