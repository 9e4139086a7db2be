"""Parts of loss terms, for `gml`. Each module imports only from modules listed before it:

entropy         the entropy term and the class-prior term
gate            which samples count in the mutual term
label_use       the labels that students and the coordinator learn from: all of them
held_out        training samples whose labels students leave out
best_teacher, cross_fitting     what is learned from these: the best student, or weights of the peers
"""
