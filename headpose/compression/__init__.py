"""Making a network smaller: needs the ``train`` extra."""
