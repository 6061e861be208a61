-- The few events that say how the ledger came by its name, among millions of others.
CREATE INDEX events_of_beginnings ON events (sequence) WHERE kind = 'ledger_begun';
