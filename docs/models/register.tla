------------------------------ MODULE register ------------------------------
(***************************************************************************)
(* One register: rounds, owners, damage, reads, removal, by R1 to R5 of     *)
(* docs/protocol/registers.md.  docs/models/README.md tells what each name *)
(* stands for in the code, what is left out, and how it is checked.        *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, Sequences, TLC

CONSTANTS
    Owners,     \* of the register
    Top,        \* rounds have the ballots 1 to Top; none is used twice
    Plan,       \* of each ballot: what its round may be for, of "x", "y", "z" and "read"
    Damages,    \* how often an owner loses its state
    Reads,      \* how often a client reads
    Removals,   \* whether the register may be removed when it holds nothing: 0 or 1
    Off         \* rules that are switched off, to show that each is needed

VARIABLES
    asked,      \* of each ballot: the change its round is for, or "read"
    proposed,   \* of each ballot: the value that its owners are to accept
    promises,   \* answers to prepares: <<owner, ballot, what it had accepted>>
    votes,      \* answers to accepts: <<owner, ballot>>
    copies,     \* what owners were healed with: <<owner, ballot>>; it counts as told, not as accepted
    ended,      \* of each ballot: whether its round has told its client
    promised, accepted,     \* of each owner: ballots
    ceiling, floor,         \* of each owner: counters
    damaged,    \* owners whose state is lost
    sources,    \* of each damaged owner: what others told it, <<owner, accepted>>
    begun,      \* of each ballot: what had been told to anybody when its round began
    told,       \* the longest value that any client was told
    refused,    \* changes whose clients were told that they were refused
    heard,      \* answers to the read under way: <<owner, accepted>>
    reading,    \* what had been told when that read began; <<>> when there is none
    removing,   \* the removal that is tried: <<counter up to which is closed, ballot of what is removed>>
    closed,     \* owners that have closed for it and told that they hold no value
    kept,       \* of each owner: the ballot whose value stands for what remains, or 0
    damages, reads,         \* how many there were
    wrong       \* promises to clients that were broken

rounds == <<asked, proposed, promises, votes, ended, begun>>
owners == <<promised, accepted, ceiling, floor, damaged, sources, copies, damages>>
removal == <<removing, closed, kept>>
clients == <<told, refused, wrong>>
reader == <<heard, reading, reads>>
vars == <<rounds, owners, removal, clients, reader>>

Ballots == 1..Top
None == <<"none">>

(* Plans.  The more a plan leaves open, the more there is to explore. *)
Mixed == [ballot \in Ballots |-> {"x", "read"}]
TwoChanges == [ballot \in Ballots |-> {"x", "y"}]
TwoApart == [ballot \in Ballots |-> IF ballot = 1 THEN {"x"} ELSE IF ballot = Top THEN {"y"} ELSE {}]
Repeated == [ballot \in Ballots |-> {"x"}]
Deleted == [ballot \in Ballots |-> IF ballot = 1 THEN {"x"} ELSE IF ballot = 2 THEN {"d"} ELSE {"y"}]
Emptied == [ballot \in Ballots |-> IF ballot = 1 THEN {"d"} ELSE IF ballot = Top THEN {"y"} ELSE {}]
Refusal == [ballot \in Ballots |-> IF ballot = 1 THEN {"x"} ELSE IF ballot = Top THEN {"read"} ELSE {"z"}]

Symmetry == Permutations(Owners)

(* Two coordinators take turns, so each counter has two ballots. *)
Counter(ballot) == (ballot + 1) \div 2
Max(a, b) == IF a > b THEN a ELSE b
Highest(numbers) == CHOOSE n \in numbers : \A m \in numbers : m <= n
Majority == IF "majority" \in Off THEN 1 ELSE Cardinality(Owners) \div 2 + 1
Needed == IF "sources" \in Off THEN 1 ELSE Cardinality(Owners) - (Cardinality(Owners) \div 2 + 1) + 1

(***************************************************************************)
(* A value is the list of the changes that made it, so its length is the   *)
(* register's version.  "z" is a cas: it fits a register that "x" changed  *)
(* last.  The others always fit.  After "d" the register holds nothing.    *)
(*                                                                         *)
(* What remains of a removed register is its version in the code, and all  *)
(* of its value here, so that one sees whether what follows goes on.       *)
(***************************************************************************)
Value(ballot) == IF ballot = 0 THEN <<>> ELSE proposed[ballot]
Has(value, change) == \E at \in 1..Len(value) : value[at] = change
Fits(value, change) == change # "z" \/ (value # <<>> /\ value[Len(value)] = "x")
Knows(value, change) == "operations" \notin Off /\ Has(value, change)
After(value, change) ==
    IF change = "read" \/ Knows(value, change) \/ ~Fits(value, change) THEN value ELSE Append(value, change)
Begins(short, long) == Len(short) <= Len(long) /\ short = SubSeq(long, 1, Len(short))

Empty(value) == IF value = <<>> THEN TRUE ELSE value[Len(value)] = "d"
GoesOn(value, ballot) ==
    IF ballot # 0 /\ Empty(value) /\ Len(value) < Len(proposed[ballot]) THEN proposed[ballot] ELSE value

Voters(ballot) == {owner \in Owners : <<owner, ballot>> \in votes}
Chosen == {ballot \in Ballots : Cardinality(Voters(ballot)) > Cardinality(Owners) \div 2}
HasAccepted(owner, ballot) == ballot = 0 \/ <<owner, ballot>> \notin copies \/ "copies" \in Off
Stands(value) == \/ value = <<>>
                 \/ \E ballot \in Chosen : Begins(value, proposed[ballot])
                 \/ Empty(value) /\ \E owner \in Owners : kept[owner] # 0 /\ Begins(value, proposed[kept[owner]])

Init ==
    /\ asked = [ballot \in Ballots |-> "nothing"]
    /\ proposed = [ballot \in Ballots |-> None]
    /\ promises = {} /\ votes = {}
    /\ ended = {}
    /\ promised = [owner \in Owners |-> 0] /\ accepted = [owner \in Owners |-> 0]
    /\ ceiling = [owner \in Owners |-> 0] /\ floor = [owner \in Owners |-> 0]
    /\ damaged = {}
    /\ sources = [owner \in Owners |-> {}]
    /\ begun = [ballot \in Ballots |-> <<>>]
    /\ told = <<>> /\ refused = {} /\ wrong = {}
    /\ heard = {} /\ reading = None
    /\ removing = None /\ closed = {} /\ kept = [owner \in Owners |-> 0]
    /\ copies = {} /\ damages = 0 /\ reads = 0

-----------------------------------------------------------------------------
(* What clients are told.  `since`: what had been told when they asked. *)

Tell(value, since) ==
    /\ told' = IF Len(value) > Len(told) THEN value ELSE told
    /\ wrong' = wrong \cup (IF Stands(value) THEN {} ELSE {"told what had not come about"})
                      \cup (IF Begins(since, value) THEN {} ELSE {"went back"})

Refuse(change, value) ==
    refused' = IF change = "read" \/ Has(value, change) THEN refused ELSE refused \cup {change}

-----------------------------------------------------------------------------
(***************************************************************************)
(* Rounds (R1).  A coordinator that starts again has forgotten how far it  *)
(* had counted, so a round may begin with any ballot that nobody had.      *)
(* "x" and "y" may be sent to several coordinators at once; "z" has one,   *)
(* whose next round is above the former.                                   *)
(***************************************************************************)
Begin(ballot, change) ==
    /\ asked[ballot] = "nothing"
    /\ change = "z" => \A other \in Ballots : asked[other] = "z" => other < ballot
    /\ change \notin refused
    /\ asked' = [asked EXCEPT ![ballot] = change]
    /\ begun' = [begun EXCEPT ![ballot] = told]
    /\ UNCHANGED <<proposed, promises, votes, ended, owners, removal, clients, reader>>

IsOver(ballot) == asked[ballot] = "z" /\ \E later \in Ballots : later > ballot /\ asked[later] = "z"
MayBeUnderWay(ballot) ==
    \E other \in Ballots \ {ballot} : /\ asked[other] = asked[ballot]
                                      /\ proposed[other] # None
                                      /\ Has(proposed[other], asked[ballot])

(* R3: what is told has come about, and a refused change cannot come about later. *)
Propose(ballot) ==
    /\ proposed[ballot] = None /\ ballot \notin ended /\ ~IsOver(ballot)
    /\ \E answers \in SUBSET {each \in promises : each[2] = ballot} :
        /\ Cardinality(answers) = Majority
        /\ \E newest \in {each[3] : each \in answers} :
            /\ "newest" \in Off \/ newest = Highest({each[3] : each \in answers})
            /\ LET remains == Highest({each[4] : each \in answers})
                   present == GoesOn(Value(newest), remains)
                   change == asked[ballot]
                   next == After(present, change)
                   isRefused == change # "read" /\ ~Has(next, change)
                   isOpen == isRefused /\ MayBeUnderWay(ballot) /\ "open" \notin Off
                   isChosen == /\ \A each \in answers : each[3] = newest /\ HasAccepted(each[1], newest)
                               /\ present = Value(newest) \/ "written" \in Off
               IN IF next = present /\ isChosen /\ ~isOpen
                  THEN /\ ended' = ended \cup {ballot}
                       /\ Tell(present, begun[ballot]) /\ Refuse(change, present)
                       /\ UNCHANGED proposed
                  ELSE /\ proposed' = [proposed EXCEPT ![ballot] = next]
                       /\ UNCHANGED <<ended, told, wrong, refused>>
    /\ UNCHANGED <<asked, promises, votes, begun, owners, removal, reader>>

End(ballot) ==
    /\ proposed[ballot] # None /\ ballot \notin ended /\ ~IsOver(ballot)
    /\ Cardinality(Voters(ballot)) >= Majority
    /\ ended' = ended \cup {ballot}
    /\ Tell(proposed[ballot], begun[ballot]) /\ Refuse(asked[ballot], proposed[ballot])
    /\ UNCHANGED <<asked, proposed, promises, votes, begun, owners, removal, reader>>

-----------------------------------------------------------------------------
(***************************************************************************)
(* Owners (R1, R2).  What was sent may arrive at any later time, or never. *)
(* The state is on the disk before each answer, so a restart changes       *)
(* nothing.                                                                *)
(***************************************************************************)
Answers(owner) == owner \notin damaged \/ "damaged" \in Off

Prepare(owner, ballot) ==
    /\ asked[ballot] # "nothing" /\ Answers(owner)
    /\ Counter(ballot) > floor[owner] /\ ballot > promised[owner]
    /\ ~\E each \in promises : each[1] = owner /\ each[2] = ballot
    /\ promised' = [promised EXCEPT ![owner] = ballot]
    /\ promises' = promises \cup {<<owner, ballot, accepted[owner], kept[owner]>>}
    /\ ceiling' = [ceiling EXCEPT ![owner] = Max(@, Counter(ballot))]
    /\ UNCHANGED <<asked, proposed, votes, ended, begun, accepted, floor, damaged, sources, copies, damages, removal, clients, reader>>

Accept(owner, ballot) ==
    /\ proposed[ballot] # None /\ Answers(owner)
    /\ Counter(ballot) > floor[owner]
    /\ ballot >= promised[owner] \/ "promises" \in Off
    /\ <<owner, ballot>> \notin votes \/ (Removals > 0 /\ accepted[owner] < ballot)
    /\ promised' = [promised EXCEPT ![owner] = ballot]
    /\ accepted' = [accepted EXCEPT ![owner] = ballot]
    /\ votes' = votes \cup {<<owner, ballot>>}
    /\ ceiling' = [ceiling EXCEPT ![owner] = Max(@, Counter(ballot))]
    /\ UNCHANGED <<asked, proposed, promises, ended, begun, floor, damaged, sources, copies, damages, removal, clients, reader>>

(* Only with R1 switched off: an owner that answered before it had synced starts again. *)
ForgetPromise(owner) ==
    /\ "synced" \in Off
    /\ promised' = [promised EXCEPT ![owner] = accepted[owner]]
    /\ UNCHANGED <<rounds, accepted, ceiling, floor, damaged, sources, copies, damages, removal, clients, reader>>

(* At most a minority at a time loses its state; the bounds are kept apart from it. *)
Damage(owner) ==
    /\ damages < Damages
    /\ owner \notin damaged
    /\ Cardinality(damaged) + 1 < Cardinality(Owners) - Cardinality(Owners) \div 2
    /\ damages' = damages + 1
    /\ damaged' = damaged \cup {owner}
    /\ promised' = [promised EXCEPT ![owner] = 0]
    /\ accepted' = [accepted EXCEPT ![owner] = 0]
    /\ sources' = [sources EXCEPT ![owner] = {}]
    /\ UNCHANGED <<rounds, ceiling, floor, copies, removal, clients, reader>>

(* Another owner agrees to nothing up to the ceiling of the damaged one, and then tells what it has. *)
TellOwner(source, owner) ==
    /\ owner \in damaged /\ source # owner /\ source \notin damaged
    /\ ~\E each \in sources[owner] : each[1] = source
    /\ LET least == IF "floor" \in Off THEN 0 ELSE ceiling[owner]
       IN /\ floor' = [floor EXCEPT ![source] = Max(@, least)]
          /\ ceiling' = [ceiling EXCEPT ![source] = Max(@, least)]
    /\ sources' = [sources EXCEPT ![owner] = @ \cup {<<source, accepted[source]>>}]
    /\ UNCHANGED <<rounds, promised, accepted, damaged, copies, damages, removal, clients, reader>>

Heal(owner) ==
    /\ owner \in damaged
    /\ Cardinality(sources[owner]) >= Needed
    /\ LET newest == Highest({0} \cup {each[2] : each \in sources[owner]})
       IN /\ copies' = copies \cup {<<owner, newest>>}
          /\ accepted' = [accepted EXCEPT ![owner] = newest]
          /\ promised' = [promised EXCEPT ![owner] = newest]
          /\ ceiling' = [ceiling EXCEPT ![owner] = IF "ceiling" \in Off THEN @ ELSE Max(@, Counter(newest))]
    /\ floor' = [floor EXCEPT ![owner] = IF "own floor" \in Off THEN @ ELSE Max(@, ceiling[owner])]
    /\ damaged' = damaged \ {owner}
    /\ sources' = [sources EXCEPT ![owner] = {}]
    /\ UNCHANGED <<rounds, damages, removal, clients, reader>>

-----------------------------------------------------------------------------
(* Reads without a round (R3).  A read that cannot end so begins a round, which is a "read" above. *)

BeginRead ==
    /\ reading = None /\ reads < Reads
    /\ reads' = reads + 1
    /\ reading' = told
    /\ UNCHANGED <<rounds, owners, removal, clients, heard>>

Hear(owner) ==
    /\ reading # None /\ Answers(owner)
    /\ ~\E each \in heard : each[1] = owner
    /\ heard' = heard \cup {<<owner, accepted[owner], kept[owner]>>}
    /\ UNCHANGED <<rounds, owners, removal, clients, reading, reads>>

EndRead ==
    /\ reading # None
    /\ Cardinality(heard) >= Majority
    /\ LET newest == Highest({each[2] : each \in heard})
           remains == Highest({each[3] : each \in heard})
           present == GoesOn(Value(newest), remains)
           same == {each \in heard : each[2] = newest /\ HasAccepted(each[1], newest)}
           isWritten == present = Value(newest) \/ "written" \in Off
       IN IF "chosen" \in Off \/ (Cardinality(same) >= Majority /\ isWritten)
          THEN Tell(present, reading)
          ELSE Cardinality(heard) = Cardinality(Owners) /\ UNCHANGED <<told, wrong>>
    /\ heard' = {} /\ reading' = None
    /\ UNCHANGED <<rounds, owners, removal, refused, reads>>

-----------------------------------------------------------------------------
(***************************************************************************)
(* Removal (R5).  An owner that holds a register without a value tries it: *)
(* all owners close, and tell that they hold none, before any removes.     *)
(***************************************************************************)
BeginRemoval(owner, counter) ==
    /\ removing = None /\ Removals > 0 /\ Answers(owner)
    /\ accepted[owner] # 0 /\ Empty(Value(accepted[owner])) /\ Counter(promised[owner]) <= counter
    /\ removing' = <<counter, accepted[owner]>>
    /\ UNCHANGED <<rounds, owners, closed, kept, clients, reader>>

Close(owner) ==
    /\ removing # None /\ owner \notin closed /\ Answers(owner)
    /\ Empty(Value(accepted[owner])) \/ "empty" \in Off
    /\ floor' = [floor EXCEPT ![owner] = IF "closed" \in Off THEN @ ELSE Max(@, removing[1])]
    /\ ceiling' = [ceiling EXCEPT ![owner] = Max(@, removing[1])]
    /\ kept' = [kept EXCEPT ![owner] = IF "remains" \in Off THEN @ ELSE removing[2]]
    /\ closed' = closed \cup {owner}
    /\ UNCHANGED <<rounds, promised, accepted, damaged, sources, copies, damages, removing, clients, reader>>

Remove(owner) ==
    /\ removing # None /\ closed = Owners /\ Answers(owner)
    /\ promised[owner] # 0 /\ Counter(promised[owner]) <= removing[1]
    /\ Empty(Value(accepted[owner])) /\ Len(Value(accepted[owner])) <= Len(proposed[removing[2]])
    /\ promised' = [promised EXCEPT ![owner] = 0]
    /\ accepted' = [accepted EXCEPT ![owner] = 0]
    /\ UNCHANGED <<rounds, ceiling, floor, damaged, sources, copies, damages, removal, clients, reader>>

-----------------------------------------------------------------------------
Next ==
    \/ \E ballot \in Ballots :
        \/ \E change \in Plan[ballot] : Begin(ballot, change)
        \/ Propose(ballot)
        \/ End(ballot)
        \/ \E owner \in Owners : Prepare(owner, ballot) \/ Accept(owner, ballot)
    \/ \E owner \in Owners :
        \/ ForgetPromise(owner) \/ Damage(owner) \/ Heal(owner) \/ Hear(owner)
        \/ \E source \in Owners : TellOwner(source, owner)
        \/ \E counter \in 1..Counter(Top) : BeginRemoval(owner, counter)
        \/ Close(owner) \/ Remove(owner)
    \/ BeginRead
    \/ EndRead

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* R1: what a majority has accepted is part of all that any majority accepts above it. *)
OneChain == \A low, high \in Chosen : low < high => Begins(proposed[low], proposed[high])

(* R3: clients see what has come about, and never go back. *)
Linear == wrong = {}

(* R3: a change that was refused never comes about. *)
RefusedForGood == \A ballot \in Chosen : \A change \in refused : ~Has(proposed[ballot], change)

(* R4: a change is applied once. *)
AppliedOnce ==
    \A ballot \in Ballots : \A i, j \in 1..Len(proposed[ballot]) :
        proposed[ballot][i] = proposed[ballot][j] => i = j

(* An owner that serves never has promised less than it has accepted, nor agreed to anything above its ceiling. *)
Bounded ==
    \A owner \in Owners \ damaged : /\ accepted[owner] <= promised[owner] \/ "promises" \in Off
                                    /\ Counter(promised[owner]) <= ceiling[owner]
=============================================================================
