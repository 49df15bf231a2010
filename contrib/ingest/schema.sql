-- What the program makes where it is not there yet. The partitions of the days are made in days.py.

-- The key of a message is (device, run, seq). A partitioned table can promise this only together with the time, and a
-- device corrects the time of what it sends again once its clock is set. So database.py compares before it inserts.
-- Days without a partition are in the default one: clocks that are wrong, and results that are older than the table.
CREATE TABLE IF NOT EXISTS results (
    device      text        NOT NULL,
    run         bigint      NOT NULL,
    seq         bigint      NOT NULL,
    captured_at timestamptz NOT NULL,   -- of the device's clock; -infinity where it gives none
    received_at timestamptz NOT NULL DEFAULT now(),
    message     jsonb       NOT NULL,
    PRIMARY KEY (device, run, seq, captured_at)
) PARTITION BY RANGE (captured_at);
CREATE TABLE IF NOT EXISTS results_default PARTITION OF results DEFAULT;

CREATE TABLE IF NOT EXISTS events (
    device      text        NOT NULL,
    run         bigint      NOT NULL,
    seq         bigint      NOT NULL,
    began       timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    message     jsonb       NOT NULL,
    PRIMARY KEY (device, run, seq, began)
) PARTITION BY RANGE (began);
CREATE TABLE IF NOT EXISTS events_default PARTITION OF events DEFAULT;

-- What is no result and no event of its device. The same payload again only counts.
CREATE TABLE IF NOT EXISTS rejected (
    topic       text        NOT NULL,
    sha256      bytea       NOT NULL,
    payload     bytea       NOT NULL,   -- its first 64 kB
    problem     text        NOT NULL,
    times       bigint      NOT NULL DEFAULT 1,
    first_at    timestamptz NOT NULL DEFAULT now(),
    last_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, sha256)
);

-- What is the same in each repeat of a message. A device that lost its state folder begins again with run 1: its
-- messages then have the keys of others, but another content.
CREATE OR REPLACE FUNCTION content(message jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT (message - '{began,ended,backfilled}'::text[])
           #- '{frame,captured_at}' #- '{frame,clock_synced}' #- '{best,captured_at}'
$$;

-- One row for each detection.
CREATE OR REPLACE VIEW detections AS
SELECT device, run, seq, captured_at, message->>'source' AS source, message->'model'->>'version' AS version,
       message->'model'->>'variant' AS variant, found->>'label' AS label, (found->>'score')::real AS score,
       found->'box' AS box, (found->>'track')::bigint AS track
FROM results, jsonb_array_elements(message->'detections') AS found;

-- One row for each visit: what its newest message says.
CREATE OR REPLACE VIEW visits AS
SELECT DISTINCT ON (device, message->>'id') device, message->>'id' AS id, message->>'label' AS label, began,
       (message->>'ended')::timestamptz AS ended, (message->>'interrupted')::boolean AS interrupted, message
FROM events
ORDER BY device, message->>'id', run DESC, seq DESC;
