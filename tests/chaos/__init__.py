"""Three servers, thirty JavaScript clients, five minutes of faults, and an
oracle that reads the stream independently: ``python -m tests.chaos``.

Where to start: :mod:`.oracle` compares what each client was due with what it
received, :mod:`.schedule` decides which faults there are and when,
:mod:`.world` has the servers and clients and carries out the faults, and
``__main__`` runs it all and judges.
"""
