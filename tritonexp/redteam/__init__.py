"""The red team: files that cheat, and honest ones that look as if they did, before the referee.

Does not cover cheats that nobody has thought of, what a cheat does to the machine beside fooling
the referee, or a referee that hangs: of a run that was killed, the verdicts given so far remain.
"""
