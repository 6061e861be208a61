-- A person is found by value, to be erased.
CREATE INDEX personal_fields_by_value ON personal_fields (name, value);
