"""What strategies are made of. Each module imports only from modules listed before it:

citation        the source of a strategy
exchange        on which samples students learn from others, from which epoch on, and which pass gives the targets
setting, step   the cohort and data that a strategy is made for; the input of one step
propagation     a graph with labels, and how labels spread over it
options         options that several strategies share
strategy        the base class; start reading here
imitation       base classes of strategies in which students imitate predictions
"""
