-- What an installation loads itself, because its licences do not let us ship it: releases of the HLA nomenclature, tables of multiple-allele
-- codes, haplotypes of populations and their frequencies; and which populations the people of a province draw from. It is about nobody. A row is
-- never changed: what a typing was read by stays.

-- +goose Up
CREATE TABLE reference_data (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('release', 'codes', 'haplotypes', 'mixture')),
    name       text NOT NULL,                 -- of a release its version; the newest of a name counts
    archive    bytea NOT NULL,                -- a zip of the files, by their own names
    sha256     bytea NOT NULL,                -- of the files, not of the zip
    size       bigint NOT NULL,               -- of the files, in bytes
    names      int NOT NULL,                  -- how many alleles, codes, haplotypes or lines there are
    metadata   jsonb NOT NULL DEFAULT '{}',
    loaded_at  timestamptz NOT NULL,
    loaded_by  text NOT NULL
);
-- It is packed already.
ALTER TABLE reference_data ALTER COLUMN archive SET STORAGE EXTERNAL;
CREATE INDEX reference_data_newest ON reference_data (kind, name, id);
REVOKE UPDATE, DELETE ON reference_data FROM liferelay_register;
GRANT SELECT ON reference_data TO liferelay_service;

-- Whoever reads typings reads the revision first, so that no process reads by a release that is no longer the newest.
CREATE TABLE reference_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO reference_revision (revision) VALUES (1);
GRANT SELECT ON reference_revision TO liferelay_service;

-- +goose StatementBegin
CREATE FUNCTION bump_reference_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE reference_revision SET revision = revision + 1;
    NOTIFY liferelay_reference;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER reference_data_bump AFTER INSERT OR UPDATE OR DELETE ON reference_data
    FOR EACH STATEMENT EXECUTE FUNCTION bump_reference_revision();

-- +goose Down
DROP TABLE reference_data, reference_revision;
DROP FUNCTION bump_reference_revision;
