"""Parts of loss terms, for `gml`. Each module imports only from modules listed before it:

entropy         the entropy term and the class-prior term
gate            which samples count in the mutual term
held_out        training samples whose labels students leave out
best_teacher, cross_fitting     what is learned from them: the best student, or weights of the peers
"""
