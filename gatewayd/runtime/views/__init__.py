"""What a process is asked about, as rows of plain data: a module for each topic.

A view is a generator of rows. It may yield None where there is no row yet: whoever goes through it may then let the
loop do something else.
"""
