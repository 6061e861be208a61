-- What a device is told of: few of its events, among which those about tokens would be most.
CREATE INDEX events_told_to_device ON events (device, sequence)
    WHERE sequence IS NOT NULL AND device IS NOT NULL AND kind <> 'token_issued' AND kind <> 'token_refused';
