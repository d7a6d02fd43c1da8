"""Learning from a fleet without labels, in small pure pieces: adversary, teacher, pseudo-labels, rendering, rigs."""
