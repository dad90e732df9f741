-- Which files made this database, and with what content.
CREATE TABLE IF NOT EXISTS comptroller.migrations ${on_cluster}
(
    number     UInt32,
    name       String,
    checksum   String,
    applied_at DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY number
