(* A content-addressed tree in memory, with history: the store behind the merkle benchmark.

   Every object is kept as bytes in one table under the MD5 of those bytes:

     leaf     'l' contents
     node     'n', then for each child in the order of the names:
              length of the name (1 byte), name, hash of the child (16 bytes)
     commit   'c' number in decimal, ' ', hash of the root (16 bytes), hash of the parent (16 bytes or none)

   Trees share what they have in common, since equal objects have equal hashes. Nothing is ever removed.
   Whatever is read is hashed again and compared with the name it was asked for by, as a store must that
   does not trust its disk. *)

module Names = Map.Make (String)

type 'a io = 'a
type hash = string

type t = {
  objects : (hash, string) Hashtbl.t;
  mutable newest : (hash * hash) option;  (** The newest commit, and its root. *)
}

(* What a change made is held as it is until the commit; the rest stays in the table until it is needed. *)
type node = Stored of hash | Leaf of string | Node of node Names.t
type tree = { store : t; root : node }

let name = "merkle"
let default_commits = 1500
let create () = { objects = Hashtbl.create 4096; newest = None }

let head store =
  let root = match store.newest with Some (_, root) -> Stored root | None -> Node Names.empty in
  { store; root }

let put store bytes =
  let hash = Digest.string bytes in
  if not (Hashtbl.mem store.objects hash) then Hashtbl.add store.objects hash bytes;
  hash

let get store hash =
  let bytes = Hashtbl.find store.objects hash in
  if Digest.string bytes <> hash then failwith ("merkle: object " ^ Digest.to_hex hash ^ " is damaged");
  bytes

let hash_bytes = 16

let decode_node bytes =
  let rec go at children =
    if at = String.length bytes then Node children
    else
      let length = Char.code bytes.[at] in
      let name = String.sub bytes (at + 1) length in
      let hash = String.sub bytes (at + 1 + length) hash_bytes in
      go (at + 1 + length + hash_bytes) (Names.add name (Stored hash) children)
  in
  go 1 Names.empty

let load store = function
  | Stored hash -> (
      let bytes = get store hash in
      match bytes.[0] with
      | 'l' -> Leaf (String.sub bytes 1 (String.length bytes - 1))
      | 'n' -> decode_node bytes
      | _ -> failwith ("merkle: object " ^ Digest.to_hex hash ^ " is no part of a tree"))
  | (Leaf _ | Node _) as held -> held

let children store node = match load store node with Node children -> children | Stored _ | Leaf _ -> Names.empty

let add tree path contents =
  let rec go node = function
    | [] -> Leaf contents
    | name :: below ->
        let children = children tree.store node in
        let child = match Names.find_opt name children with Some child -> child | None -> Node Names.empty in
        Node (Names.add name (go child below) children)
  in
  { tree with root = go tree.root path }

let find tree path =
  let rec go node = function
    | [] -> ( match load tree.store node with Leaf contents -> Some contents | Stored _ | Node _ -> None)
    | name :: below -> (
        match Names.find_opt name (children tree.store node) with Some child -> go child below | None -> None)
  in
  go tree.root path

let rec write store = function
  | Stored hash -> hash
  | Leaf contents -> put store ("l" ^ contents)
  | Node children ->
      let bytes = Buffer.create 512 in
      let add_child name child =
        Buffer.add_char bytes (Char.chr (String.length name));
        Buffer.add_string bytes name;
        Buffer.add_string bytes (write store child)
      in
      Buffer.add_char bytes 'n';
      Names.iter add_child children;
      put store (Buffer.contents bytes)

let commit store number tree =
  let root = write store tree.root in
  let parent = match store.newest with Some (commit, _) -> commit | None -> "" in
  let commit = put store (Printf.sprintf "c%d %s%s" number root parent) in
  store.newest <- Some (commit, root);
  Digest.to_hex root

let count store tag =
  Hashtbl.fold (fun _ bytes total -> if bytes.[0] = tag then total + 1 else total) store.objects 0

let facts store =
  [
    ("merkle_leaves", count store 'l'); ("merkle_nodes", count store 'n'); ("merkle_commits", count store 'c');
  ]
