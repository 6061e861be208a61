-- Housekeeping and gates ask for the few that are over, and not for all that are there.
CREATE INDEX grants_by_end ON grants (ends_at) WHERE state = 'active';
CREATE INDEX certificates_by_end ON certificates (not_after);
CREATE INDEX certificates_by_holder ON certificates (holder);
CREATE INDEX grants_not_active ON grants (id, device) WHERE state <> 'active';
CREATE INDEX devices_amiss ON devices (id, state) WHERE state <> 'approved' OR software <> 0;
CREATE INDEX challenges_by_end ON challenges (expires_at);
