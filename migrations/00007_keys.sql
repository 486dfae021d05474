-- The rotation of keys: each is carried out by a workflow, chunk by chunk, and where it stands is here.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION key_version(sealed bytea) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The version of the installation's key that wraps or seals a value: four bytes after the format.
    SELECT (get_byte(sealed, 1)::bigint << 24) + (get_byte(sealed, 2) << 16) + (get_byte(sealed, 3) << 8) + get_byte(sealed, 4)
$$;
-- +goose StatementEnd

CREATE TABLE key_rotations (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('kek', 'index')),
    version     int NOT NULL,              -- of the key that everything goes over to
    phase       int NOT NULL DEFAULT 0,    -- 0 waits for those who may not know of the key yet; then which table is being walked
    after       text NOT NULL DEFAULT '',  -- the last row of it that was looked at
    done        bigint NOT NULL DEFAULT 0, -- rows looked at
    changed     bigint NOT NULL DEFAULT 0, -- rows written anew
    total       bigint NOT NULL,           -- rows there were when it began
    started_by  text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (kind, version)
);
CREATE UNIQUE INDEX key_rotations_one_at_a_time ON key_rotations (kind) WHERE finished_at IS NULL;

-- A process says when it reads a key file that the others may not have read, and looks where a rotation stands before its act.
GRANT UPDATE (key_generation) ON installation TO liferelay_service;
GRANT SELECT ON key_rotations TO liferelay_service;

-- +goose Down
DROP TABLE key_rotations;
DROP FUNCTION key_version;
