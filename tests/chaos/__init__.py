"""Three servers, thirty JavaScript clients, five minutes of faults, and an
oracle that reads the stream by itself: ``python -m tests.chaos``.

Where to start: :mod:`.oracle` knows what each client was due and says what is
wrong with what it got, :mod:`.schedule` decides which faults there are and
when, :mod:`.world` has the servers and clients and brings the faults about,
and ``__main__`` runs it all and judges.
"""
