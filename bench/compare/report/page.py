def write(results, path):
    path.write_text("")
